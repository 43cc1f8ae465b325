// A wasi:http 0.2 component that takes what its host holds for it and does not count as its memory, by path:
//
// /fields           large fields, again and again, without end
// /bodies           bodies of responses that no one will read, each as full as it gets, without end
// /work-on          answers, and goes on for an hour
// /content/STATUS   answers with this status and five bytes, also where there may be none
//
// Everything else is answered with `served`. No libc call here needs WASI preview 1.
#include "hoarder.h"
#include <stdlib.h>
#include <string.h>

#define HTTP(name) wasi_http_types_##name
#define OWN(name) wasi_http_types_own_##name##_t
#define BORROW(name) wasi_http_types_borrow_##name
#define IO(name) wasi_io_streams_##name

static const uint64_t HOUR_NS = 3600ULL * 1000 * 1000 * 1000;
// Nearly as much as one field may have.
static uint8_t large[127 * 1000];

static void wait_for(wasi_io_poll_own_pollable_t pollable) {
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(pollable));
    wasi_io_poll_pollable_drop_own(pollable);
}

static void append(OWN(fields) fields, const char *name, const uint8_t *value, size_t size) {
    HTTP(field_name_t) field = {(uint8_t *)name, strlen(name)};
    HTTP(field_value_t) text = {(uint8_t *)value, size};
    HTTP(header_error_t) error;
    if (!HTTP(method_fields_append)(BORROW(fields)(fields), &field, &text, &error)) __builtin_trap();
}

static wasi_io_streams_own_output_stream_t begin(OWN(outgoing_response) response, OWN(outgoing_body) *body) {
    wasi_io_streams_own_output_stream_t stream;
    if (!HTTP(method_outgoing_response_body)(BORROW(outgoing_response)(response), body)) __builtin_trap();
    if (!HTTP(method_outgoing_body_write)(BORROW(outgoing_body)(*body), &stream)) __builtin_trap();
    return stream;
}

// Writes as much of `bytes` as there is room for. False without room.
static bool write_some(wasi_io_streams_own_output_stream_t stream, const uint8_t *bytes, size_t size) {
    IO(stream_error_t) error;
    IO(borrow_output_stream_t) borrowed = IO(borrow_output_stream)(stream);
    uint64_t room = 0;
    if (!IO(method_output_stream_check_write)(borrowed, &room, &error) || room == 0) return false;
    hoarder_list_u8_t piece = {(uint8_t *)bytes, room < size ? room : size};
    return IO(method_output_stream_write)(borrowed, &piece, &error);
}

static void answer(OWN(response_outparam) outparam, uint16_t status, OWN(fields) fields, const char *text) {
    OWN(outgoing_response) response = HTTP(constructor_outgoing_response)(fields);
    if (!HTTP(method_outgoing_response_set_status_code)(BORROW(outgoing_response)(response), status)) __builtin_trap();
    OWN(outgoing_body) body;
    wasi_io_streams_own_output_stream_t stream = begin(response, &body);
    HTTP(result_own_outgoing_response_error_code_t) result = {.is_err = false, .val.ok = response};
    HTTP(static_response_outparam_set)(outparam, &result);
    write_some(stream, (const uint8_t *)text, strlen(text));
    IO(output_stream_drop_own)(stream);
    HTTP(error_code_t) error;
    HTTP(static_outgoing_body_finish)(body, NULL, &error);
}

static void hoard_fields(void) {
    memset(large, 'x', sizeof large);
    for (;;) append(HTTP(constructor_fields)(), "x-large", large, sizeof large);
}

static void hoard_bodies(void) {
    for (;;) {
        OWN(outgoing_body) body;
        OWN(outgoing_response) response = HTTP(constructor_outgoing_response)(HTTP(constructor_fields)());
        wasi_io_streams_own_output_stream_t stream = begin(response, &body);
        for (int full = 0; full < 3;) {
            if (write_some(stream, large, sizeof large)) continue;
            // The host may take a moment to pass on what it has.
            wait_for(wasi_clocks_monotonic_clock_subscribe_duration(1000));
            full++;
        }
    }
}

void exports_wasi_http_incoming_handler_handle(OWN(incoming_request) request, OWN(response_outparam) outparam) {
    static const char CONTENT[] = "/content/";
    hoarder_string_t text;
    char path[64] = "/";
    if (HTTP(method_incoming_request_path_with_query)(BORROW(incoming_request)(request), &text)) {
        size_t size = text.len < sizeof path ? text.len : sizeof path - 1;
        memcpy(path, text.ptr, size);
        path[size] = 0;
    }
    if (strcmp(path, "/fields") == 0) hoard_fields();
    if (strcmp(path, "/bodies") == 0) hoard_bodies();
    OWN(fields) fields = HTTP(constructor_fields)();
    if (strncmp(path, CONTENT, strlen(CONTENT)) == 0) {
        append(fields, "content-length", (const uint8_t *)"5", 1);
        answer(outparam, (uint16_t)atoi(path + strlen(CONTENT)), fields, "bytes");
        return;
    }
    answer(outparam, 200, fields, "served\n");
    if (strcmp(path, "/work-on") == 0) wait_for(wasi_clocks_monotonic_clock_subscribe_duration(HOUR_NS));
}
