// A wasi:http 0.2 component: a server that behaves well or badly, by path.
//
// Well:  /hello /count /echo /length /headers /download/BYTES /status/CODE /sleep/MILLISECONDS /empty-frames /trailers
//        /log/LINES, and /fetch with the header x-fetch: http[s]://AUTHORITY/PATH, which sends a request of its own
// Badly: /spin /allocate /recurse /trap /trap-within /never /forget /stall /ignore /handles /flood
//        /bad-headers /content-length/short /content-length/long
//
// Everything else is 404. No libc call here needs WASI preview 1.
#include "proxy.h"
#define WORLD(name) proxy_##name
#include "../fetch-0.2.h"
#include <stdlib.h>

static const size_t PIECE_BYTES = 64 * 1024;

static void sleep_ns(uint64_t duration) { wait_for(wasi_clocks_monotonic_clock_subscribe_duration(duration)); }

static response_t begin_text(outparam_t outparam, uint16_t status) {
    OWN(fields) fields = HTTP(constructor_fields)();
    add(fields, "content-type", "text/plain");
    return begin(outparam, status, fields);
}

static void answer(outparam_t outparam, uint16_t status, const char *text) {
    response_t response = begin_text(outparam, status);
    write_text(response.stream, text);
    finish(response);
}

// The body of a message, with what must be dropped after it.
typedef struct {
    OWN(incoming_body) body;
    input_t stream;
} source_t;

static source_t open_body(OWN(incoming_body) body) {
    source_t source = {.body = body};
    if (!HTTP(method_incoming_body_stream)(BORROW(incoming_body)(body), &source.stream)) __builtin_trap();
    return source;
}

static void close_body(source_t source) {
    IO(input_stream_drop_own)(source.stream);
    HTTP(incoming_body_drop_own)(source.body);
}

// False at the end, or when the client is gone. The caller frees the piece.
static bool read_piece(source_t source, proxy_list_u8_t *piece) {
    IO(stream_error_t) error;
    return IO(method_input_stream_blocking_read)(IO(borrow_input_stream)(source.stream), PIECE_BYTES, piece, &error);
}

static void copy(source_t from, output_t to) {
    proxy_list_u8_t piece;
    bool open = true;
    while (open && read_piece(from, &piece)) {
        open = write_all(to, piece.ptr, piece.len);
        proxy_list_u8_free(&piece);
    }
    close_body(from);
}

static source_t request_body(OWN(incoming_request) request) {
    OWN(incoming_body) body;
    if (!HTTP(method_incoming_request_consume)(BORROW(incoming_request)(request), &body)) __builtin_trap();
    return open_body(body);
}

static void length(OWN(incoming_request) request, outparam_t outparam) {
    source_t source = request_body(request);
    proxy_list_u8_t piece;
    uint64_t total = 0;
    while (read_piece(source, &piece)) {
        total += piece.len;
        proxy_list_u8_free(&piece);
    }
    close_body(source);
    response_t response = begin_text(outparam, 200);
    write_number(response.stream, total);
    write_text(response.stream, "\n");
    finish(response);
}

static void headers(OWN(incoming_request) request, const char *path, outparam_t outparam) {
    response_t response = begin_text(outparam, 200);
    proxy_string_t authority;
    write_text(response.stream, "path: ");
    write_text(response.stream, path);
    if (HTTP(method_incoming_request_authority)(BORROW(incoming_request)(request), &authority)) {
        write_text(response.stream, "\nauthority: ");
        write_all(response.stream, authority.ptr, authority.len);
    }
    write_text(response.stream, "\n");
    OWN(fields) fields = HTTP(method_incoming_request_headers)(BORROW(incoming_request)(request));
    HTTP(list_tuple2_field_name_field_value_t) entries;
    HTTP(method_fields_entries)(BORROW(fields)(fields), &entries);
    for (size_t i = 0; i < entries.len; i++) {
        write_all(response.stream, entries.ptr[i].f0.ptr, entries.ptr[i].f0.len);
        write_text(response.stream, ": ");
        write_all(response.stream, entries.ptr[i].f1.ptr, entries.ptr[i].f1.len);
        write_text(response.stream, "\n");
    }
    HTTP(fields_drop_own)(fields);
    finish(response);
}

static void download(uint64_t left, outparam_t outparam) {
    response_t response = begin_text(outparam, 200);
    uint8_t *piece = malloc(PIECE_BYTES);
    for (size_t i = 0; i < PIECE_BYTES; i++) piece[i] = (uint8_t)('a' + i % 26);
    for (size_t size; left > 0; left -= size) {
        size = left < PIECE_BYTES ? left : PIECE_BYTES;
        if (!write_all(response.stream, piece, size)) break;
    }
    finish(response);
}

static void log_lines(uint64_t lines) {
    output_t stdout_stream = wasi_cli_stdout_get_stdout();
    for (uint64_t i = 0; i < lines; i++) {
        write_text(stdout_stream, "line ");
        write_number(stdout_stream, i);
        write_text(stdout_stream, " of a guest that has much to say, and says it again and again\n");
    }
    IO(output_stream_drop_own)(stdout_stream);
}

// Which headers a guest may not set: a line for each, with the code of header-error.
static void bad_headers(outparam_t outparam) {
    static const char *const TRIED[][2] = {
        {"bad name", "value"},     {"bad\nname", "value"},        {"", "value"},           {"x-value", "one\r\ntwo: 2"},
        {"connection", "close"},   {"transfer-encoding", "none"}, {"keep-alive", "10"},    {"upgrade", "h2c"},
        {"host", "other.example"}, {"x-good", "value"},
    };
    OWN(fields) fields = HTTP(constructor_fields)();
    char codes[sizeof TRIED / sizeof *TRIED + 2] = {0};
    for (size_t i = 0; i < sizeof TRIED / sizeof *TRIED; i++) {
        int code = add(fields, TRIED[i][0], TRIED[i][1]);
        codes[i] = code < 0 ? '-' : (char)('0' + code);
    }
    codes[sizeof TRIED / sizeof *TRIED] = '\n';
    response_t response = begin(outparam, 200, fields);
    write_text(response.stream, codes);
    finish(response);
}

// Announces ten bytes.
static void wrong_length(const char *text, outparam_t outparam) {
    OWN(fields) fields = HTTP(constructor_fields)();
    add(fields, "content-length", "10");
    response_t response = begin(outparam, 200, fields);
    write_text(response.stream, text);
    flush(response.stream);
    finish(response);
}

static void trailers(outparam_t outparam) {
    OWN(fields) fields = HTTP(constructor_fields)();
    add(fields, "trailer", "x-sum");
    response_t response = begin(outparam, 200, fields);
    write_text(response.stream, "hello\n");
    OWN(fields) after_body = HTTP(constructor_fields)();
    add(after_body, "x-sum", "6");
    finish_with(response, &after_body);
}

static void empty_frames(outparam_t outparam) {
    response_t response = begin_text(outparam, 200);
    IO(stream_error_t) error;
    proxy_list_u8_t nothing = {(uint8_t *)"", 0};
    for (int i = 0; i < 3; i++) {
        IO(method_output_stream_write)(IO(borrow_output_stream)(response.stream), &nothing, &error);
        flush(response.stream);
        write_text(response.stream, "part\n");
        flush(response.stream);
    }
    finish(response);
}

static void fetch_failed(outparam_t outparam, int code) {
    response_t response = begin_text(outparam, 502);
    write_text(response.stream, "error-code ");
    write_number(response.stream, (uint64_t)code);
    write_text(response.stream, "\n");
    finish(response);
}

// GET x-fetch, and its answer as ours.
static void fetch_for(OWN(incoming_request) request, outparam_t outparam) {
    OWN(fields) fields = HTTP(method_incoming_request_headers)(BORROW(incoming_request)(request));
    url_t url;
    bool has_url = fetched_url(fields, &url);
    HTTP(fields_drop_own)(fields);
    if (!has_url) {
        answer(outparam, 400, "no x-fetch: http://AUTHORITY/PATH\n");
        return;
    }
    OWN(incoming_response) incoming;
    int code = fetch(url, &incoming);
    if (code == REFUSED_URL) {
        answer(outparam, 400, "x-fetch is not a URL\n");
        return;
    }
    if (code != RESPONDED) {
        fetch_failed(outparam, code);
        return;
    }
    uint16_t status = HTTP(method_incoming_response_status)(BORROW(incoming_response)(incoming));
    OWN(incoming_body) body;
    if (!HTTP(method_incoming_response_consume)(BORROW(incoming_response)(incoming), &body)) __builtin_trap();
    response_t response = begin_text(outparam, status);
    copy(open_body(body), response.stream);
    HTTP(incoming_response_drop_own)(incoming);
    finish(response);
}

// Takes memory until there is no more, and says how much that was.
static void allocate(outparam_t outparam) {
    uint64_t pages = 0;
    for (; __builtin_wasm_memory_grow(0, 16) != (size_t)-1; pages += 16) {
        uint8_t *end = (uint8_t *)(__builtin_wasm_memory_size(0) * 65536);
        for (uint8_t *page = end - 16 * 65536; page != end; page += 4096) *(volatile uint8_t *)page = 1;
    }
    response_t response = begin_text(outparam, 200);
    write_number(response.stream, pages / 16);
    write_text(response.stream, " MiB\n");
    finish(response);
}

static volatile unsigned depth;

__attribute__((noinline)) static unsigned recurse(unsigned n) {
    depth = n;
    return depth == 0 ? 0 : 1 + recurse(n + 1) * depth;
}

// Returns whether the path is of a guest that behaves badly.
static bool misbehave(const char *path, outparam_t outparam) {
    response_t response;
    if (strcmp(path, "/spin") == 0) {
        for (;;) depth++;
    } else if (strcmp(path, "/allocate") == 0) {
        allocate(outparam);
    } else if (strcmp(path, "/recurse") == 0) {
        recurse(1);
    } else if (strcmp(path, "/trap") == 0) {
        __builtin_trap();
    } else if (strcmp(path, "/trap-within") == 0) {
        response = begin_text(outparam, 200);
        write_text(response.stream, "begun\n");
        flush(response.stream);
        __builtin_trap();
    } else if (strcmp(path, "/never") == 0) {
        sleep_ns(HOUR_NS);
    } else if (strcmp(path, "/forget") == 0) {
        HTTP(response_outparam_drop_own)(outparam);
    } else if (strcmp(path, "/stall") == 0) {
        response = begin_text(outparam, 200);
        write_text(response.stream, "begun\n");
        flush(response.stream);
        sleep_ns(HOUR_NS);
    } else if (strcmp(path, "/ignore") == 0) {
        answer(outparam, 200, "ignored\n");
    } else if (strcmp(path, "/handles") == 0) {
        for (;;) HTTP(constructor_fields)();
    } else if (strcmp(path, "/flood") == 0) {
        log_lines(UINT64_MAX);
    } else if (strcmp(path, "/bad-headers") == 0) {
        bad_headers(outparam);
    } else if (strcmp(path, "/content-length/short") == 0) {
        wrong_length("five\n", outparam);
    } else if (strcmp(path, "/content-length/long") == 0) {
        wrong_length("fifteen bytes.\n", outparam);
    } else {
        return false;
    }
    return true;
}

static void behave(OWN(incoming_request) request, const char *path, outparam_t outparam) {
    static uint64_t count;
    const char *rest;
    response_t response;
    if (strcmp(path, "/hello") == 0) {
        answer(outparam, 200, "hello\n");
    } else if (strcmp(path, "/count") == 0) {
        response = begin_text(outparam, 200);
        write_number(response.stream, ++count);
        write_text(response.stream, "\n");
        finish(response);
    } else if (strcmp(path, "/echo") == 0) {
        response = begin_text(outparam, 200);
        copy(request_body(request), response.stream);
        finish(response);
    } else if (strcmp(path, "/length") == 0) {
        length(request, outparam);
    } else if (after(path, "/headers")) {
        headers(request, path, outparam);
    } else if ((rest = after(path, "/download/"))) {
        download(number(rest), outparam);
    } else if ((rest = after(path, "/status/"))) {
        answer(outparam, (uint16_t)number(rest), "");
    } else if ((rest = after(path, "/sleep/"))) {
        sleep_ns(number(rest) * 1000 * 1000);
        answer(outparam, 200, "slept\n");
    } else if ((rest = after(path, "/log/"))) {
        log_lines(number(rest));
        answer(outparam, 200, "logged\n");
    } else if (strcmp(path, "/empty-frames") == 0) {
        empty_frames(outparam);
    } else if (strcmp(path, "/trailers") == 0) {
        trailers(outparam);
    } else if (strcmp(path, "/fetch") == 0) {
        fetch_for(request, outparam);
    } else {
        answer(outparam, 404, "no such path\n");
    }
}

void exports_wasi_http_incoming_handler_handle(OWN(incoming_request) request, outparam_t outparam) {
    char path[1024];
    read_path(request, path, sizeof path);
    if (!misbehave(path, outparam)) behave(request, path, outparam);
    HTTP(incoming_request_drop_own)(request);
}
