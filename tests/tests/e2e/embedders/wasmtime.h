// What the C program of docs/embedders.md calls of the C API of wasmtime 48, for a machine that has the library without its
// headers: names, types and sizes of that library's binary interface. Where the headers are installed, they are used.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct wasm_engine wasm_engine_t;
typedef struct wasm_trap wasm_trap_t;
typedef struct wasmtime_context wasmtime_context_t;
typedef struct wasmtime_error wasmtime_error_t;
typedef struct wasmtime_module wasmtime_module_t;
typedef struct wasmtime_store wasmtime_store_t;

typedef struct { size_t size; char *data; } wasm_byte_vec_t;
typedef struct { uint64_t words[2]; } wasmtime_func_t;
typedef struct { uint64_t words[2]; } wasmtime_instance_t;
typedef struct { uint8_t kind; union { wasmtime_func_t func; uint64_t words[3]; } of; } wasmtime_extern_t;
typedef struct { uint8_t kind; union { int32_t i32; uint64_t words[3]; } of; } wasmtime_val_t;
enum { WASMTIME_I32 = 0, WASMTIME_EXTERN_FUNC = 0 };

wasm_engine_t *wasm_engine_new(void);
void wasm_engine_delete(wasm_engine_t *);
wasmtime_store_t *wasmtime_store_new(wasm_engine_t *, void *, void (*)(void *));
wasmtime_context_t *wasmtime_store_context(wasmtime_store_t *);
void wasmtime_store_delete(wasmtime_store_t *);
wasmtime_error_t *wasmtime_module_deserialize_file(wasm_engine_t *, const char *, wasmtime_module_t **);
void wasmtime_module_delete(wasmtime_module_t *);
wasmtime_error_t *wasmtime_instance_new(
    wasmtime_context_t *, const wasmtime_module_t *, const wasmtime_extern_t *, size_t, wasmtime_instance_t *, wasm_trap_t **);
bool wasmtime_instance_export_get(
    wasmtime_context_t *, const wasmtime_instance_t *, const char *, size_t, wasmtime_extern_t *);
wasmtime_error_t *wasmtime_func_call(
    wasmtime_context_t *, const wasmtime_func_t *, const wasmtime_val_t *, size_t, wasmtime_val_t *, size_t, wasm_trap_t **);
void wasmtime_error_message(const wasmtime_error_t *, wasm_byte_vec_t *);
void wasm_trap_message(const wasm_trap_t *, wasm_byte_vec_t *);
