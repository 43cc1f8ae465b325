// A wasi:http 0.2 component that takes what its host holds for it and does not count as its memory, by path:
//
// /fields           large fields, again and again, without end
// /bodies           bodies of responses that no one will read, each as full as it gets, without end
// /work-on          answers, and goes on for an hour
// /content/STATUS   answers with this status and five bytes, also where there may be none
//
// Everything else is answered with `served`. No libc call here needs WASI preview 1.
#include "hoarder.h"
#define WORLD(name) hoarder_##name
#include "../http-0.2.h"

// Nearly as much as one field may have.
static uint8_t large[127 * 1000];

// Writes as much of `bytes` as there is room for. False without room.
static bool write_some(output_t stream, const uint8_t *bytes, size_t size) {
    IO(stream_error_t) error;
    IO(borrow_output_stream_t) borrowed = IO(borrow_output_stream)(stream);
    uint64_t room = 0;
    if (!IO(method_output_stream_check_write)(borrowed, &room, &error) || room == 0) return false;
    hoarder_list_u8_t piece = {(uint8_t *)bytes, room < size ? room : size};
    return IO(method_output_stream_write)(borrowed, &piece, &error);
}

static void answer(outparam_t outparam, uint16_t status, OWN(fields) fields, const char *text) {
    response_t response = begin(outparam, status, fields);
    write_some(response.stream, (const uint8_t *)text, strlen(text));
    finish(response);
}

static void hoard_fields(void) {
    memset(large, 'x', sizeof large);
    for (;;) {
        if (append(HTTP(constructor_fields)(), "x-large", large, sizeof large) >= 0) __builtin_trap();
    }
}

static void hoard_bodies(void) {
    for (;;) {
        response_t unsent = open_response(HTTP(constructor_outgoing_response)(HTTP(constructor_fields)()));
        for (int full = 0; full < 3;) {
            if (write_some(unsent.stream, large, sizeof large)) continue;
            // The host may take a moment to pass on what it has.
            wait_for(wasi_clocks_monotonic_clock_subscribe_duration(1000));
            full++;
        }
    }
}

void exports_wasi_http_incoming_handler_handle(OWN(incoming_request) request, outparam_t outparam) {
    char path[64];
    const char *status;
    read_path(request, path, sizeof path);
    if (strcmp(path, "/fields") == 0) hoard_fields();
    if (strcmp(path, "/bodies") == 0) hoard_bodies();
    OWN(fields) fields = HTTP(constructor_fields)();
    if ((status = after(path, "/content/"))) {
        add(fields, "content-length", "5");
        answer(outparam, (uint16_t)number(status), fields, "bytes");
        return;
    }
    answer(outparam, 200, fields, "served\n");
    if (strcmp(path, "/work-on") == 0) wait_for(wasi_clocks_monotonic_clock_subscribe_duration(HOUR_NS));
}
