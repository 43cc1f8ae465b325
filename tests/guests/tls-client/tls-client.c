// A wasi:cli 0.3 command: ADDRESS PORT NAME prints what a TLS server of that name sends at this IPv4 address, after it was
// sent "hello", by wasi:tls 0.3.
//
// Exit 1 when the host denies it or the handshake fails, with the reason. No libc call here needs WASI preview 1.
#include "tls_client.h"
#include "../text.h"
#include <stdbool.h>

#define SOCKETS(name) wasi_sockets_types_##name
#define TLS(name) wasi_tls_client_##name
#define STDOUT(name) wasi_cli_stdout_##name

// Waits until something has happened to `waitable`, and gives what.
static uint32_t wait_for(uint32_t waitable) {
    tls_client_event_t event;
    tls_client_waitable_set_t set = tls_client_waitable_set_new();
    tls_client_waitable_join(waitable, set);
    tls_client_waitable_set_wait(set, &event);
    tls_client_waitable_join(waitable, 0);
    tls_client_waitable_set_drop(set);
    return event.code;
}

// Waits for the result of a call.
static void finish(tls_client_subtask_status_t status) {
    if (TLS_CLIENT_SUBTASK_STATE(status) == TLS_CLIENT_SUBTASK_RETURNED) return;
    tls_client_subtask_t call = TLS_CLIENT_SUBTASK_HANDLE(status);
    while (TLS_CLIENT_SUBTASK_STATE(wait_for(call)) != TLS_CLIENT_SUBTASK_RETURNED) continue;
    tls_client_subtask_drop(call);
}

// What has become of a read or write, waiting for it where it has not ended.
static tls_client_waitable_status_t ended(tls_client_waitable_status_t status, uint32_t waitable) {
    return status == TLS_CLIENT_WAITABLE_STATUS_BLOCKED ? wait_for(waitable) : status;
}

static STDOUT(stream_u8_writer_t) out;

static void print(const uint8_t *bytes, size_t left) {
    while (left > 0) {
        tls_client_waitable_status_t status = ended(STDOUT(stream_u8_write)(out, bytes, left), out);
        if (TLS_CLIENT_WAITABLE_STATE(status) == TLS_CLIENT_WAITABLE_DROPPED) return;
        bytes += TLS_CLIENT_WAITABLE_COUNT(status);
        left -= TLS_CLIENT_WAITABLE_COUNT(status);
    }
}

static bool failed(const char *what) {
    print((const uint8_t *)what, strlen(what));
    print((const uint8_t *)"\n", 1);
    return false;
}

static bool connect_to(tls_client_string_t address, tls_client_string_t port, SOCKETS(own_tcp_socket_t) *socket) {
    SOCKETS(error_code_t) error;
    if (!SOCKETS(static_tcp_socket_create)(WASI_SOCKETS_TYPES_IP_ADDRESS_FAMILY_IPV4, socket, &error)) {
        return failed("socket: error");
    }
    uint8_t bytes[4];
    ipv4(address.ptr, address.len, bytes);
    SOCKETS(method_tcp_socket_connect_args_t) to = {.self = SOCKETS(borrow_tcp_socket)(*socket)};
    to.remote_address.tag = WASI_SOCKETS_TYPES_IP_SOCKET_ADDRESS_IPV4;
    to.remote_address.val.ipv4.port = (uint16_t)number_at(&(const uint8_t *){port.ptr}, port.ptr + port.len);
    to.remote_address.val.ipv4.address = (SOCKETS(ipv4_address_t)){bytes[0], bytes[1], bytes[2], bytes[3]};
    SOCKETS(result_void_error_code_t) result;
    finish(SOCKETS(method_tcp_socket_connect)(&to, &result));
    return result.is_err ? failed("connect: error") : true;
}

static bool speak(SOCKETS(borrow_tcp_socket_t) socket, tls_client_string_t name) {
    SOCKETS(tuple2_stream_u8_future_result_void_error_code_t) from_server;
    SOCKETS(method_tcp_socket_receive)(socket, &from_server);
    TLS(own_connector_t) connector = TLS(constructor_connector)();
    TLS(stream_u8_writer_t) cleartext;
    TLS(tuple2_stream_u8_future_result_void_own_error_t) sent, received;
    TLS(method_connector_send)(TLS(borrow_connector)(connector), TLS(stream_u8_new)(&cleartext), &sent);
    TLS(method_connector_receive)(TLS(borrow_connector)(connector), from_server.f0, &received);
    SOCKETS(method_tcp_socket_send)(socket, sent.f0);
    TLS(result_void_own_error_t) result;
    finish(TLS(static_connector_connect)(connector, name, &result));
    if (result.is_err) {
        tls_client_string_t reason;
        wasi_tls_types_method_error_to_debug_string(wasi_tls_types_borrow_error(result.val.err), &reason);
        print((const uint8_t *)"tls: ", 5);
        print(reason.ptr, reason.len);
        return failed("");
    }
    const uint8_t hello[] = {'h', 'e', 'l', 'l', 'o', '\n'};
    ended(TLS(stream_u8_write)(cleartext, hello, sizeof hello), cleartext);
    for (;;) {
        uint8_t piece[4096];
        tls_client_waitable_status_t status = ended(TLS(stream_u8_read)(received.f0, piece, sizeof piece), received.f0);
        print(piece, TLS_CLIENT_WAITABLE_COUNT(status));
        if (TLS_CLIENT_WAITABLE_STATE(status) == TLS_CLIENT_WAITABLE_DROPPED) return true;
    }
}

tls_client_callback_code_t exports_wasi_cli_run_run(void) {
    STDOUT(future_result_void_error_code_t) written = STDOUT(write_via_stream)(STDOUT(stream_u8_new)(&out));
    tls_client_list_string_t words;
    wasi_cli_environment_get_arguments(&words);
    SOCKETS(own_tcp_socket_t) socket;
    exports_wasi_cli_run_result_void_void_t result = {.is_err = true};
    if (words.len != 4) {
        failed("expected ADDRESS PORT NAME");
    } else if (connect_to(words.ptr[1], words.ptr[2], &socket)) {
        result.is_err = !speak(SOCKETS(borrow_tcp_socket)(socket), words.ptr[3]);
    }
    STDOUT(stream_u8_drop_writable)(out);
    STDOUT(result_void_error_code_t) outcome;
    ended(STDOUT(future_result_void_error_code_read)(written, &outcome), written);
    exports_wasi_cli_run_run_return(result);
    return TLS_CLIENT_CALLBACK_CODE_EXIT;
}

// It waits in its own code alone.
tls_client_callback_code_t exports_wasi_cli_run_run_callback(tls_client_event_t *event) {
    (void)event;
    __builtin_trap();
}
