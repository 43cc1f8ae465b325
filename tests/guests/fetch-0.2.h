// A request of a guest's own, by wasi:http 0.2.
#pragma once
#include "http-0.2.h"

// Beside error-codes, what `fetch` gives: a response, or that the host takes no such URL.
enum { RESPONDED = -1, REFUSED_URL = -2 };

// Sends GET and waits for the response.
static inline int fetch(url_t url, OWN(incoming_response) *response) {
    OWN(outgoing_request) request = HTTP(constructor_outgoing_request)(HTTP(constructor_fields)());
    HTTP(borrow_outgoing_request_t) borrowed = BORROW(outgoing_request)(request);
    if (!HTTP(method_outgoing_request_set_scheme)(borrowed, &url.scheme) ||
        !HTTP(method_outgoing_request_set_authority)(borrowed, &url.authority) ||
        !HTTP(method_outgoing_request_set_path_with_query)(borrowed, &url.path)) {
        return REFUSED_URL;
    }
    OWN(outgoing_body) nothing;
    HTTP(error_code_t) error;
    OWN(future_incoming_response) future;
    if (!HTTP(method_outgoing_request_body)(borrowed, &nothing)) __builtin_trap();
    if (!wasi_http_outgoing_handler_handle(request, NULL, &future, &error)) return error.tag;
    HTTP(static_outgoing_body_finish)(nothing, NULL, &error);
    wait_for(HTTP(method_future_incoming_response_subscribe)(BORROW(future_incoming_response)(future)));
    HTTP(result_result_own_incoming_response_error_code_void_t) result;
    if (!HTTP(method_future_incoming_response_get)(BORROW(future_incoming_response)(future), &result)) __builtin_trap();
    HTTP(future_incoming_response_drop_own)(future);
    if (result.is_err) __builtin_trap();
    if (result.val.ok.is_err) return result.val.ok.val.err.tag;
    *response = result.val.ok.val.ok;
    return RESPONDED;
}
