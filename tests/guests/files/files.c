// A wasi:http 0.2 component that opens the file `file` in the first directory that it is granted, by path:
//
// /read           gives what is in it
// /open           opens it again and again, without end
// /hold/NUMBER    opens it so often, waits for half a second, and says so
//
// Everything else is 404. No libc call here needs WASI preview 1.
#include "files.h"
#include <string.h>

#define HTTP(name) wasi_http_types_##name
#define OWN(name) wasi_http_types_own_##name##_t
#define BORROW(name) wasi_http_types_borrow_##name
#define IO(name) wasi_io_streams_##name
#define FS(name) wasi_filesystem_types_##name
typedef FS(own_descriptor_t) descriptor_t;

static const uint64_t HALF_SECOND_NS = 500ULL * 1000 * 1000;

static void answer(OWN(response_outparam) outparam, uint16_t status, const uint8_t *bytes, size_t size) {
    OWN(outgoing_response) response = HTTP(constructor_outgoing_response)(HTTP(constructor_fields)());
    OWN(outgoing_body) body;
    wasi_io_streams_own_output_stream_t stream;
    if (!HTTP(method_outgoing_response_set_status_code)(BORROW(outgoing_response)(response), status)) __builtin_trap();
    if (!HTTP(method_outgoing_response_body)(BORROW(outgoing_response)(response), &body)) __builtin_trap();
    if (!HTTP(method_outgoing_body_write)(BORROW(outgoing_body)(body), &stream)) __builtin_trap();
    HTTP(result_own_outgoing_response_error_code_t) result = {.is_err = false, .val.ok = response};
    HTTP(static_response_outparam_set)(outparam, &result);
    files_list_u8_t content = {(uint8_t *)bytes, size};
    IO(stream_error_t) stream_error;
    HTTP(error_code_t) error;
    IO(method_output_stream_blocking_write_and_flush)(IO(borrow_output_stream)(stream), &content, &stream_error);
    IO(output_stream_drop_own)(stream);
    HTTP(static_outgoing_body_finish)(body, NULL, &error);
}

static void answer_text(OWN(response_outparam) outparam, uint16_t status, const char *text) {
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

static void read_file(OWN(response_outparam) outparam) {
    files_tuple2_list_u8_bool_t content;
    FS(error_code_t) error;
    if (!FS(method_descriptor_read)(FS(borrow_descriptor)(open_file()), 4096, 0, &content, &error)) __builtin_trap();
    answer(outparam, 200, content.f0.ptr, content.f0.len);
}

static void hold(const char *digits, OWN(response_outparam) outparam) {
    uint64_t number = 0;
    for (const char *digit = digits; *digit >= '0' && *digit <= '9'; digit++) number = number * 10 + (*digit - '0');
    for (uint64_t i = 0; i < number; i++) open_file();
    wasi_io_poll_own_pollable_t pollable = wasi_clocks_monotonic_clock_subscribe_duration(HALF_SECOND_NS);
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(pollable));
    char text[64] = "held ";
    strncat(text, digits, 20);
    strcat(text, "\n");
    answer_text(outparam, 200, text);
}

void exports_wasi_http_incoming_handler_handle(OWN(incoming_request) request, OWN(response_outparam) outparam) {
    files_string_t text;
    char path[64] = "/";
    if (HTTP(method_incoming_request_path_with_query)(BORROW(incoming_request)(request), &text)) {
        size_t size = text.len < sizeof path ? text.len : sizeof path - 1;
        memcpy(path, text.ptr, size);
        path[size] = 0;
    }
    if (strcmp(path, "/read") == 0) {
        read_file(outparam);
    } else if (strcmp(path, "/open") == 0) {
        for (;;) open_file();
    } else if (strncmp(path, "/hold/", 6) == 0) {
        hold(path + 6, outparam);
    } else {
        answer_text(outparam, 404, "no such path\n");
    }
    HTTP(incoming_request_drop_own)(request);
}
