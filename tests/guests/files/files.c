// A wasi:http 0.2 component that opens the file `file` in the first directory that it is granted, by path:
//
// /read           gives what is in it
// /open           opens it again and again, without end
// /hold/NUMBER    opens it so often, waits for half a second, and says so
//
// Everything else is 404. No libc call here needs WASI preview 1.
#include "files.h"
#define WORLD(name) files_##name
#include "../http-0.2.h"

#define FS(name) wasi_filesystem_types_##name
typedef FS(own_descriptor_t) descriptor_t;

static const uint64_t HALF_SECOND_NS = 500ULL * 1000 * 1000;

static void answer(outparam_t outparam, uint16_t status, const uint8_t *bytes, size_t size) {
    response_t response = begin(outparam, status, HTTP(constructor_fields)());
    write_all(response.stream, bytes, size);
    finish(response);
}

static void answer_text(outparam_t outparam, uint16_t status, const char *text) {
    answer(outparam, status, (const uint8_t *)text, strlen(text));
}

// Traps where it cannot be opened.
static descriptor_t open_file(void) {
    static wasi_filesystem_preopens_list_tuple2_own_descriptor_string_t directories;
    if (directories.ptr == NULL) wasi_filesystem_preopens_get_directories(&directories);
    if (directories.len == 0) __builtin_trap();
    files_string_t name = {(uint8_t *)"file", 4};
    descriptor_t file;
    FS(error_code_t) error;
    if (!FS(method_descriptor_open_at)(FS(borrow_descriptor)(directories.ptr[0].f0), 0, &name, 0,
                                       WASI_FILESYSTEM_TYPES_DESCRIPTOR_FLAGS_READ, &file, &error)) {
        __builtin_trap();
    }
    return file;
}

static void read_file(outparam_t outparam) {
    files_tuple2_list_u8_bool_t content;
    FS(error_code_t) error;
    if (!FS(method_descriptor_read)(FS(borrow_descriptor)(open_file()), 4096, 0, &content, &error)) __builtin_trap();
    answer(outparam, 200, content.f0.ptr, content.f0.len);
}

static void hold(const char *digits, outparam_t outparam) {
    for (uint64_t left = number(digits); left > 0; left--) open_file();
    wait_for(wasi_clocks_monotonic_clock_subscribe_duration(HALF_SECOND_NS));
    char text[64] = "held ";
    strncat(text, digits, 20);
    strcat(text, "\n");
    answer_text(outparam, 200, text);
}

void exports_wasi_http_incoming_handler_handle(OWN(incoming_request) request, outparam_t outparam) {
    char path[64];
    const char *digits;
    read_path(request, path, sizeof path);
    if (strcmp(path, "/read") == 0) {
        read_file(outparam);
    } else if (strcmp(path, "/open") == 0) {
        for (;;) open_file();
    } else if ((digits = after(path, "/hold/"))) {
        hold(digits, outparam);
    } else {
        answer_text(outparam, 404, "no such path\n");
    }
    HTTP(incoming_request_drop_own)(request);
}
