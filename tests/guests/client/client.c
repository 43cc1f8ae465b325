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
#define WORLD(name) client_##name
#include "../fetch-0.2.h"

#define CLI(name) wasi_cli_##name
#define TCP(name) wasi_sockets_tcp_##name
#define TLS(name) wasi_tls_types_##name

static const size_t PIECE_BYTES = 4096;

// False once the other end is gone.
static bool send(output_t stream, const uint8_t *bytes, size_t size) {
    return write_all(stream, bytes, size) && flush(stream);
}

static output_t out;

static void print(const char *text) { send(out, (const uint8_t *)text, strlen(text)); }

static void print_string(client_string_t text) { send(out, text.ptr, text.len); }

static void print_number(uint64_t value) {
    char digits[24];
    print(decimal(digits + sizeof digits, value));
}

// Prints what is still to come.
static void print_rest(input_t stream) {
    IO(stream_error_t) error;
    client_list_u8_t piece;
    while (IO(method_input_stream_blocking_read)(IO(borrow_input_stream)(stream), PIECE_BYTES, &piece, &error)) {
        send(out, piece.ptr, piece.len);
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

static bool http(url_t url) {
    OWN(incoming_response) response;
    int code = fetch(url, &response);
    if (code == REFUSED_URL) {
        print("not a URL\n");
        return false;
    }
    if (code != RESPONDED) return failed("http: error", (uint64_t)code);
    print_number(HTTP(method_incoming_response_status)(BORROW(incoming_response)(response)));
    print("\n");
    OWN(incoming_body) body;
    input_t stream;
    if (!HTTP(method_incoming_response_consume)(BORROW(incoming_response)(response), &body)) __builtin_trap();
    if (!HTTP(method_incoming_body_stream)(BORROW(incoming_body)(body), &stream)) __builtin_trap();
    print_rest(stream);
    return true;
}

static bool connect_to(client_string_t address_text, client_string_t port_text, input_t *input, output_t *output) {
    uint8_t bytes[4];
    ipv4(address_text.ptr, address_text.len, bytes);
    TCP(ip_socket_address_t) address = {.tag = WASI_SOCKETS_NETWORK_IP_SOCKET_ADDRESS_IPV4};
    address.val.ipv4.port = (uint16_t)number_at(&(const uint8_t *){port_text.ptr}, port_text.ptr + port_text.len);
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
    if (!send(result.val.ok.val.ok.f2, (const uint8_t *)"hello\n", 6)) return failed("tls: closed", 0);
    print_rest(result.val.ok.val.ok.f1);
    return true;
}

bool exports_wasi_cli_run_run(void) {
    client_list_string_t all;
    CLI(environment_get_arguments)(&all);
    out = CLI(stdout_get_stdout)();
    client_string_t *words = all.ptr;
    url_t url;
    input_t input;
    output_t output;
    if (all.len == 3 && equal(words[1], "config")) return config(&words[2]);
    if (all.len == 2 && equal(words[1], "cwd")) return cwd();
    if (all.len == 3 && equal(words[1], "http") && parse_url(words[2], &url)) return http(url);
    if (all.len == 5 && equal(words[1], "tls")) {
        return connect_to(words[2], words[3], &input, &output) && tls(words[4], input, output);
    }
    print("expected config NAME, cwd, http URL, or tls ADDRESS PORT NAME\n");
    CLI(exit_exit_with_code)(2);
    return false;
}
