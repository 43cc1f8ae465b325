// What guests that speak wasi:http 0.2 share beside http.h: streams and responses.
#pragma once
#include "http.h"

#define IO(name) wasi_io_streams_##name
typedef wasi_io_streams_own_input_stream_t input_t;
typedef wasi_io_streams_own_output_stream_t output_t;
typedef OWN(response_outparam) outparam_t;

static inline void wait_for(wasi_io_poll_own_pollable_t pollable) {
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(pollable));
    wasi_io_poll_pollable_drop_own(pollable);
}

// False once the other end is gone.
static inline bool write_all(output_t stream, const uint8_t *bytes, size_t left) {
    IO(stream_error_t) error;
    IO(borrow_output_stream_t) borrowed = IO(borrow_output_stream)(stream);
    while (left > 0) {
        uint64_t room = 0;
        if (!IO(method_output_stream_check_write)(borrowed, &room, &error)) return false;
        if (room == 0) {
            wait_for(IO(method_output_stream_subscribe)(borrowed));
            continue;
        }
        WORLD(list_u8_t) piece = {(uint8_t *)bytes, room < left ? room : left};
        if (!IO(method_output_stream_write)(borrowed, &piece, &error)) return false;
        bytes += piece.len;
        left -= piece.len;
    }
    return true;
}

static inline bool write_text(output_t stream, const char *text) {
    return write_all(stream, (const uint8_t *)text, strlen(text));
}

static inline bool write_number(output_t stream, uint64_t value) {
    char digits[24];
    return write_text(stream, decimal(digits + sizeof digits, value));
}

static inline bool flush(output_t stream) {
    IO(stream_error_t) error;
    IO(borrow_output_stream_t) borrowed = IO(borrow_output_stream)(stream);
    if (!IO(method_output_stream_flush)(borrowed, &error)) return false;
    wait_for(IO(method_output_stream_subscribe)(borrowed));
    return true;
}

// The path of a request, in `path`, of which as much is copied as there is room for.
static inline void read_path(OWN(incoming_request) request, char *path, size_t room_bytes) {
    WORLD(string_t) text = {(uint8_t *)"/", 1};
    (void)HTTP(method_incoming_request_path_with_query)(BORROW(incoming_request)(request), &text);
    copy_text(path, room_bytes, text);
}

// What is written of a response.
typedef struct {
    OWN(outgoing_body) body;
    output_t stream;
} response_t;

// Opens the body of a response.
static inline response_t open_response(OWN(outgoing_response) response) {
    response_t opened;
    if (!HTTP(method_outgoing_response_body)(BORROW(outgoing_response)(response), &opened.body)) __builtin_trap();
    if (!HTTP(method_outgoing_body_write)(BORROW(outgoing_body)(opened.body), &opened.stream)) __builtin_trap();
    return opened;
}

// Sends the head of a response.
static inline response_t begin(outparam_t outparam, uint16_t status, OWN(fields) fields) {
    OWN(outgoing_response) response = HTTP(constructor_outgoing_response)(fields);
    if (!HTTP(method_outgoing_response_set_status_code)(BORROW(outgoing_response)(response), status)) __builtin_trap();
    response_t begun = open_response(response);
    HTTP(result_own_outgoing_response_error_code_t) result = {.is_err = false, .val.ok = response};
    HTTP(static_response_outparam_set)(outparam, &result);
    return begun;
}

static inline void finish_with(response_t response, OWN(fields) *trailers) {
    HTTP(error_code_t) error;
    IO(output_stream_drop_own)(response.stream);
    HTTP(static_outgoing_body_finish)(response.body, trailers, &error);
}

static inline void finish(response_t response) { finish_with(response, NULL); }
