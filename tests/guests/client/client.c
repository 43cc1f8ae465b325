// A wasi:cli 0.2 command that asks its host for one thing and prints it:
//
// config NAME               a value of wasi:config
// cwd                       the current directory
// http URL                  the status and the body of the answer to GET
// tls ADDRESS PORT NAME     what a TLS server of that name sends at this IPv4 address, after it was sent "hello"
//
// Exit 1 when the host has no such thing or denies it, with the reason; exit 2 for other arguments. No libc call here needs
// WASI preview 1.
#include "client.h"
#include <stdlib.h>
#include <string.h>

#define CLI(name) wasi_cli_##name
#define HTTP(name) wasi_http_types_##name
#define IO(name) wasi_io_streams_##name
#define TCP(name) wasi_sockets_tcp_##name
#define TLS(name) wasi_tls_types_##name
typedef wasi_io_streams_own_input_stream_t input_t;
typedef wasi_io_streams_own_output_stream_t output_t;

static const size_t PIECE_BYTES = 4096;

static void wait_for(wasi_io_poll_own_pollable_t pollable) {
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(pollable));
    wasi_io_poll_pollable_drop_own(pollable);
}

// False once the other end is gone.
static bool write_all(output_t stream, const uint8_t *bytes, size_t left) {
    IO(stream_error_t) error;
    for (size_t size; left > 0; bytes += size, left -= size) {
        size = left < PIECE_BYTES ? left : PIECE_BYTES;
        client_list_u8_t piece = {(uint8_t *)bytes, size};
        if (!IO(method_output_stream_blocking_write_and_flush)(IO(borrow_output_stream)(stream), &piece, &error)) {
            return false;
        }
    }
    return true;
}

static output_t out;

static void print(const char *text) { write_all(out, (const uint8_t *)text, strlen(text)); }

static void print_string(client_string_t text) { write_all(out, text.ptr, text.len); }

static void print_number(uint64_t value) {
    char digits[24], *end = digits + sizeof digits;
    *--end = 0;
    do *--end = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    print(end);
}

// Prints what is still to come.
static void print_rest(input_t stream) {
    IO(stream_error_t) error;
    client_list_u8_t piece;
    while (IO(method_input_stream_blocking_read)(IO(borrow_input_stream)(stream), PIECE_BYTES, &piece, &error)) {
        write_all(out, piece.ptr, piece.len);
        client_list_u8_free(&piece);
    }
}

static bool failed(const char *what, uint64_t code) {
    print(what);
    print(" ");
    print_number(code);
    print("\n");
    return false;
}

static bool equal(client_string_t text, const char *word) {
    return text.len == strlen(word) && memcmp(text.ptr, word, text.len) == 0;
}

static uint64_t number(const uint8_t **digits, const uint8_t *end) {
    uint64_t value = 0;
    for (; *digits < end && **digits >= '0' && **digits <= '9'; ++*digits) value = value * 10 + (uint64_t)(**digits - '0');
    return value;
}

static bool config(client_string_t *name) {
    client_option_string_t value;
    wasi_config_store_error_t error;
    if (!wasi_config_store_get(name, &value, &error)) return failed("config: error", error.tag);
    if (!value.is_some) {
        print("not set\n");
        return false;
    }
    print_string(value.val);
    print("\n");
    return true;
}

static bool cwd(void) {
    client_string_t directory;
    if (!CLI(environment_initial_cwd)(&directory)) {
        print("no current directory\n");
        return false;
    }
    print_string(directory);
    print("\n");
    return true;
}

// Its scheme, authority and path; false where it has no scheme.
static bool parts_of(client_string_t url, client_string_t *scheme, client_string_t *authority, client_string_t *path) {
    const uint8_t *end = url.ptr + url.len, *colon = memchr(url.ptr, ':', url.len);
    if (colon == NULL || end - colon < 4 || memcmp(colon, "://", 3) != 0) return false;
    uint8_t *host = (uint8_t *)colon + 3;
    const uint8_t *slash = memchr(host, '/', (size_t)(end - host));
    *scheme = (client_string_t){url.ptr, (size_t)(colon - url.ptr)};
    *authority = (client_string_t){host, (size_t)((slash ? slash : end) - host)};
    *path = slash ? (client_string_t){(uint8_t *)slash, (size_t)(end - slash)} : (client_string_t){(uint8_t *)"/", 1};
    return true;
}

static bool http(client_string_t scheme_text, client_string_t authority, client_string_t path) {
    HTTP(scheme_t) scheme = {.tag = WASI_HTTP_TYPES_SCHEME_OTHER, .val.other = scheme_text};
    if (equal(scheme_text, "http")) scheme.tag = WASI_HTTP_TYPES_SCHEME_HTTP;
    if (equal(scheme_text, "https")) scheme.tag = WASI_HTTP_TYPES_SCHEME_HTTPS;
    HTTP(own_outgoing_request_t) request = HTTP(constructor_outgoing_request)(HTTP(constructor_fields)());
    HTTP(borrow_outgoing_request_t) borrowed = HTTP(borrow_outgoing_request)(request);
    if (!HTTP(method_outgoing_request_set_scheme)(borrowed, &scheme) ||
        !HTTP(method_outgoing_request_set_authority)(borrowed, &authority) ||
        !HTTP(method_outgoing_request_set_path_with_query)(borrowed, &path)) {
        print("not a URL\n");
        return false;
    }
    HTTP(own_outgoing_body_t) nothing;
    HTTP(error_code_t) error;
    HTTP(own_future_incoming_response_t) future;
    if (!HTTP(method_outgoing_request_body)(borrowed, &nothing)) __builtin_trap();
    if (!wasi_http_outgoing_handler_handle(request, NULL, &future, &error)) return failed("http: error", error.tag);
    HTTP(static_outgoing_body_finish)(nothing, NULL, &error);
    wait_for(HTTP(method_future_incoming_response_subscribe)(HTTP(borrow_future_incoming_response)(future)));
    HTTP(result_result_own_incoming_response_error_code_void_t) result;
    if (!HTTP(method_future_incoming_response_get)(HTTP(borrow_future_incoming_response)(future), &result)) __builtin_trap();
    if (result.is_err) __builtin_trap();
    if (result.val.ok.is_err) return failed("http: error", result.val.ok.val.err.tag);
    HTTP(own_incoming_response_t) response = result.val.ok.val.ok;
    print_number(HTTP(method_incoming_response_status)(HTTP(borrow_incoming_response)(response)));
    print("\n");
    HTTP(own_incoming_body_t) body;
    input_t stream;
    if (!HTTP(method_incoming_response_consume)(HTTP(borrow_incoming_response)(response), &body)) __builtin_trap();
    if (!HTTP(method_incoming_body_stream)(HTTP(borrow_incoming_body)(body), &stream)) __builtin_trap();
    print_rest(stream);
    return true;
}

static bool connect_to(client_string_t address_text, client_string_t port_text, input_t *input, output_t *output) {
    const uint8_t *at = address_text.ptr, *end = at + address_text.len;
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++, at++) bytes[i] = (uint8_t)number(&at, end);
    TCP(ip_socket_address_t) address = {.tag = WASI_SOCKETS_NETWORK_IP_SOCKET_ADDRESS_IPV4};
    address.val.ipv4.port = (uint16_t)number(&(const uint8_t *){port_text.ptr}, port_text.ptr + port_text.len);
    address.val.ipv4.address.f0 = bytes[0];
    address.val.ipv4.address.f1 = bytes[1];
    address.val.ipv4.address.f2 = bytes[2];
    address.val.ipv4.address.f3 = bytes[3];
    TCP(own_tcp_socket_t) socket;
    TCP(error_code_t) error;
    wasi_sockets_network_own_network_t network = wasi_sockets_instance_network_instance_network();
    if (!wasi_sockets_tcp_create_socket_create_tcp_socket(WASI_SOCKETS_NETWORK_IP_ADDRESS_FAMILY_IPV4, &socket, &error)) {
        return failed("connect: error", error);
    }
    TCP(borrow_tcp_socket_t) borrowed = TCP(borrow_tcp_socket)(socket);
    if (!TCP(method_tcp_socket_start_connect)(borrowed, wasi_sockets_network_borrow_network(network), &address, &error)) {
        return failed("connect: error", error);
    }
    wait_for(TCP(method_tcp_socket_subscribe)(borrowed));
    TCP(tuple2_own_input_stream_own_output_stream_t) streams;
    if (!TCP(method_tcp_socket_finish_connect)(borrowed, &streams, &error)) return failed("connect: error", error);
    *input = streams.f0;
    *output = streams.f1;
    return true;
}

static bool tls(client_string_t name, input_t input, output_t output) {
    TLS(own_future_client_streams_t) future =
        TLS(static_client_handshake_finish)(TLS(constructor_client_handshake)(&name, input, output));
    TLS(borrow_future_client_streams_t) borrowed = TLS(borrow_future_client_streams)(future);
    wait_for(TLS(method_future_client_streams_subscribe)(borrowed));
    TLS(result_result_tuple3_own_client_connection_own_input_stream_own_output_stream_own_io_error_void_t) result;
    if (!TLS(method_future_client_streams_get)(borrowed, &result) || result.is_err) __builtin_trap();
    if (result.val.ok.is_err) {
        client_string_t reason;
        wasi_io_error_method_error_to_debug_string(wasi_io_error_borrow_error(result.val.ok.val.err), &reason);
        print("tls: ");
        print_string(reason);
        print("\n");
        return false;
    }
    if (!write_all(result.val.ok.val.ok.f2, (const uint8_t *)"hello\n", 6)) return failed("tls: closed", 0);
    print_rest(result.val.ok.val.ok.f1);
    return true;
}

bool exports_wasi_cli_run_run(void) {
    client_list_string_t all;
    CLI(environment_get_arguments)(&all);
    out = CLI(stdout_get_stdout)();
    client_string_t *words = all.ptr, scheme, authority, path;
    input_t input;
    output_t output;
    if (all.len == 3 && equal(words[1], "config")) return config(&words[2]);
    if (all.len == 2 && equal(words[1], "cwd")) return cwd();
    if (all.len == 3 && equal(words[1], "http") && parts_of(words[2], &scheme, &authority, &path)) {
        return http(scheme, authority, path);
    }
    if (all.len == 5 && equal(words[1], "tls")) {
        return connect_to(words[2], words[3], &input, &output) && tls(words[4], input, output);
    }
    print("expected config NAME, cwd, http URL, or tls ADDRESS PORT NAME\n");
    CLI(exit_exit_with_code)(2);
    return false;
}
