// A wasi:http 0.3 component: a server that behaves well or badly, by path. Requests run beside each other in one
// instance, each as a task that waits by returning to the host.
//
// Well:  /hello /count /echo /length /download/BYTES /status/CODE /sleep/MILLISECONDS
//        /fetch with the header x-fetch: http[s]://AUTHORITY/PATH, which sends a request of its own
// Badly: /spin /allocate /trap /trap-within /never /stall /ignore /error
//
// Everything else is 404. No libc call here needs WASI preview 1.
#include "service.h"
#define WORLD(name) service_##name
#include "../http.h"
#include <stdlib.h>

#define TRAILERS(name) wasi_http_types_future_result_option_own_trailers_error_code_##name
#define OUTCOME(name) wasi_http_types_future_result_void_error_code_##name
typedef OWN(request) request_t;

static const size_t PIECE_BYTES = 64 * 1024;

// What a task waits for; what it does next follows from that.
typedef enum {
    SLEEPING,  // a clock, before the response
    FETCHING,  // another server's response
    READING,   // a piece of the request's body
    WRITING,   // room for a piece of the response's body
    STALLED,   // a clock, within the response
    ENDING,    // the host, that it takes the trailers, of which there are none
} state_t;

typedef struct {
    state_t state;
    service_waitable_set_t set;
    // The response's body, where one has begun.
    HTTP(stream_u8_writer_t) writer;
    TRAILERS(writer_t) trailers;
    // The body that is read, of the request or of another server's response.
    bool has_source;
    HTTP(stream_u8_t) source;
    TRAILERS(t) source_trailers;
    // What is left of the piece that is being written, and of what the guest makes up after it.
    uint8_t *piece;
    size_t offset, size;
    uint64_t made_up;
    bool counts, stalls, traps;
    uint64_t count;
    wasi_http_client_result_own_response_error_code_t fetched;
} task_t;

static const HTTP(result_void_error_code_t) OK = {.is_err = false};
static const HTTP(result_option_own_trailers_error_code_t) NO_TRAILERS = {.is_err = false};

static service_callback_code_t advance(task_t *task);

static service_callback_code_t wait(task_t *task, uint32_t waitable, state_t state) {
    task->state = state;
    service_waitable_join(waitable, task->set);
    return SERVICE_CALLBACK_CODE_WAIT(task->set);
}

static void set_text(task_t *task, const char *text) {
    task->size = strlen(text);
    memcpy(task->piece, text, task->size);
    task->offset = 0;
}

static void set_number(task_t *task, uint64_t value, const char *end) {
    char digits[24];
    set_text(task, decimal(digits + sizeof digits, value));
    memcpy(task->piece + task->size, end, strlen(end));
    task->size += strlen(end);
}

// Gives the host a response whose body is still to be written.
static void respond(task_t *task, uint16_t status) {
    OWN(fields) fields = HTTP(constructor_fields)();
    add(fields, "content-type", "text/plain");
    HTTP(stream_u8_t) body = HTTP(stream_u8_new)(&task->writer);
    HTTP(tuple2_own_response_future_result_void_error_code_t) made;
    HTTP(static_response_new)(fields, &body, TRAILERS(new)(&task->trailers), &made);
    OUTCOME(drop_readable)(made.f1);
    if (!HTTP(method_response_set_status_code)(BORROW(response)(made.f0), status)) __builtin_trap();
    exports_wasi_http_handler_result_own_response_error_code_t result = {.is_err = false, .val.ok = made.f0};
    exports_wasi_http_handler_handle_return(result);
}

static void open_source(task_t *task, HTTP(tuple2_stream_u8_future_result_option_own_trailers_error_code_t) source) {
    task->has_source = true;
    task->source = source.f0;
    task->source_trailers = source.f1;
}

static void close_source(task_t *task) {
    HTTP(stream_u8_drop_readable)(task->source);
    TRAILERS(drop_readable)(task->source_trailers);
    task->has_source = false;
}

// Tells the host that a body is all right. A writer must not be dropped before the host has read, and this one is left
// behind: an instance serves few requests.
static HTTP(future_result_void_error_code_t) received(void) {
    OUTCOME(writer_t) writer;
    HTTP(future_result_void_error_code_t) reader = OUTCOME(new)(&writer);
    OUTCOME(write)(writer, &OK);
    return reader;
}

static void open_request(task_t *task, request_t request) {
    HTTP(tuple2_stream_u8_future_result_option_own_trailers_error_code_t) source;
    HTTP(static_request_consume_body)(request, received(), &source);
    open_source(task, source);
}

static service_callback_code_t finish(task_t *task) {
    HTTP(stream_u8_drop_writable)(task->writer);
    if (TRAILERS(write)(task->trailers, &NO_TRAILERS) == SERVICE_WAITABLE_STATUS_BLOCKED)
        return wait(task, task->trailers, ENDING);
    task->state = ENDING;
    return advance(task);
}

// After the last byte of the response.
static service_callback_code_t written(task_t *task) {
    if (task->traps) __builtin_trap();
    if (!task->stalls) return finish(task);
    return wait(task, SERVICE_SUBTASK_HANDLE(wasi_clocks_monotonic_clock_wait_for(HOUR_NS)), STALLED);
}

// Writes what there is, reads what comes next, until one of them must be waited for.
static service_callback_code_t pump(task_t *task, service_waitable_status_t status, bool has_status) {
    for (;; has_status = true) {
        if (has_status && task->state == READING) {
            task->size = SERVICE_WAITABLE_COUNT(status);
            task->offset = 0;
            if (task->counts) {
                task->count += task->size;
                task->size = 0;
            }
            if (SERVICE_WAITABLE_STATE(status) == SERVICE_WAITABLE_DROPPED) {
                close_source(task);
                if (task->counts) {
                    respond(task, 200);
                    set_number(task, task->count, "\n");
                    task->counts = false;
                }
            }
        } else if (has_status) {
            task->offset += SERVICE_WAITABLE_COUNT(status);
            // The client is gone.
            if (SERVICE_WAITABLE_STATE(status) == SERVICE_WAITABLE_DROPPED) {
                if (task->has_source) close_source(task);
                return finish(task);
            }
        }
        if (task->offset == task->size && task->made_up > 0) {
            task->size = task->made_up < PIECE_BYTES ? task->made_up : PIECE_BYTES;
            task->made_up -= task->size;
            task->offset = 0;
        }
        if (task->offset < task->size) {
            task->state = WRITING;
            status = HTTP(stream_u8_write)(task->writer, task->piece + task->offset, task->size - task->offset);
            if (status == SERVICE_WAITABLE_STATUS_BLOCKED) return wait(task, task->writer, WRITING);
        } else if (task->has_source) {
            task->state = READING;
            status = HTTP(stream_u8_read)(task->source, task->piece, PIECE_BYTES);
            if (status == SERVICE_WAITABLE_STATUS_BLOCKED) return wait(task, task->source, READING);
        } else {
            return written(task);
        }
    }
}

static service_callback_code_t run(task_t *task) { return pump(task, 0, false); }

static service_callback_code_t answer(task_t *task, uint16_t status, const char *text) {
    set_text(task, text);
    respond(task, status);
    return run(task);
}

static service_callback_code_t fetched(task_t *task) {
    if (task->fetched.is_err) {
        respond(task, 502);
        set_number(task, task->fetched.val.err.tag, " is the error-code\n");
        return run(task);
    }
    OWN(response) response = task->fetched.val.ok;
    uint16_t status = HTTP(method_response_get_status_code)(BORROW(response)(response));
    HTTP(tuple2_stream_u8_future_result_option_own_trailers_error_code_t) source;
    HTTP(static_response_consume_body)(response, received(), &source);
    open_source(task, source);
    respond(task, status);
    return run(task);
}

// GET x-fetch, and its answer as ours.
static service_callback_code_t fetch(task_t *task, request_t request) {
    OWN(fields) fields = HTTP(method_request_get_headers)(BORROW(request)(request));
    url_t url;
    bool has_url = fetched_url(fields, &url);
    HTTP(fields_drop_own)(fields);
    if (!has_url) return answer(task, 400, "no x-fetch: http://AUTHORITY/PATH\n");

    HTTP(tuple2_own_request_future_result_void_error_code_t) made;
    TRAILERS(writer_t) trailers;
    HTTP(static_request_new)(HTTP(constructor_fields)(), NULL, TRAILERS(new)(&trailers), NULL, &made);
    OUTCOME(drop_readable)(made.f1);
    TRAILERS(write)(trailers, &NO_TRAILERS);
    if (!HTTP(method_request_set_scheme)(BORROW(request)(made.f0), &url.scheme) ||
        !HTTP(method_request_set_authority)(BORROW(request)(made.f0), &url.authority) ||
        !HTTP(method_request_set_path_with_query)(BORROW(request)(made.f0), &url.path))
        return answer(task, 400, "x-fetch is not a URL\n");
    service_subtask_status_t status = wasi_http_client_send(made.f0, &task->fetched);
    if (SERVICE_SUBTASK_STATE(status) == SERVICE_SUBTASK_RETURNED) return fetched(task);
    return wait(task, SERVICE_SUBTASK_HANDLE(status), FETCHING);
}

static service_callback_code_t end(task_t *task) {
    service_waitable_set_drop(task->set);
    free(task->piece);
    free(task);
    return SERVICE_CALLBACK_CODE_EXIT;
}

static service_callback_code_t advance(task_t *task) {
    switch (task->state) {
    case SLEEPING:
        return answer(task, 200, "slept\n");
    case FETCHING:
        return fetched(task);
    default:
        break;
    }
    TRAILERS(drop_writable)(task->trailers);
    return end(task);
}

static service_callback_code_t sleep_ns(task_t *task, uint64_t duration) {
    service_subtask_status_t status = wasi_clocks_monotonic_clock_wait_for(duration);
    if (SERVICE_SUBTASK_STATE(status) == SERVICE_SUBTASK_RETURNED) return answer(task, 200, "slept\n");
    return wait(task, SERVICE_SUBTASK_HANDLE(status), SLEEPING);
}

static volatile unsigned spun;

// Takes memory until there is no more, and says how much that was.
static service_callback_code_t allocate(task_t *task) {
    uint64_t pages = 0;
    for (; __builtin_wasm_memory_grow(0, 16) != (size_t)-1; pages += 16) {
        uint8_t *end = (uint8_t *)(__builtin_wasm_memory_size(0) * 65536);
        for (uint8_t *page = end - 16 * 65536; page != end; page += 4096) *(volatile uint8_t *)page = 1;
    }
    set_number(task, pages / 16, " MiB\n");
    respond(task, 200);
    return run(task);
}

static service_callback_code_t fail(task_t *task) {
    exports_wasi_http_handler_result_own_response_error_code_t result = {.is_err = true};
    result.val.err.tag = WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED;
    exports_wasi_http_handler_handle_return(result);
    return end(task);
}

static service_callback_code_t handle(task_t *task, const char *path, request_t request) {
    static uint64_t count;
    const char *rest;
    if (strcmp(path, "/echo") == 0 || strcmp(path, "/length") == 0) {
        task->counts = strcmp(path, "/length") == 0;
        open_request(task, request);
        if (!task->counts) respond(task, 200);
        return run(task);
    }
    if (strcmp(path, "/fetch") == 0) return fetch(task, request);
    HTTP(request_drop_own)(request);
    if (strcmp(path, "/hello") == 0) return answer(task, 200, "hello\n");
    if (strcmp(path, "/ignore") == 0) return answer(task, 200, "ignored\n");
    if (strcmp(path, "/count") == 0) {
        set_number(task, ++count, "\n");
        respond(task, 200);
        return run(task);
    }
    if ((rest = after(path, "/download/"))) {
        for (size_t i = 0; i < PIECE_BYTES; i++) task->piece[i] = (uint8_t)('a' + i % 26);
        task->made_up = number(rest);
        respond(task, 200);
        return run(task);
    }
    if ((rest = after(path, "/status/"))) return answer(task, (uint16_t)number(rest), "");
    if ((rest = after(path, "/sleep/"))) return sleep_ns(task, number(rest) * 1000 * 1000);
    if (strcmp(path, "/never") == 0) return sleep_ns(task, HOUR_NS);
    if (strcmp(path, "/spin") == 0) {
        for (;;) spun++;
    }
    if (strcmp(path, "/allocate") == 0) return allocate(task);
    if (strcmp(path, "/trap") == 0) __builtin_trap();
    if (strcmp(path, "/error") == 0) return fail(task);
    task->traps = strcmp(path, "/trap-within") == 0;
    task->stalls = strcmp(path, "/stall") == 0;
    if (task->traps || task->stalls) return answer(task, 200, "begun\n");
    return answer(task, 404, "no such path\n");
}

service_callback_code_t exports_wasi_http_handler_handle(request_t request) {
    service_string_t text;
    char path[1024] = "/";
    if (HTTP(method_request_get_path_with_query)(BORROW(request)(request), &text)) {
        copy_text(path, sizeof path, text);
        service_string_free(&text);
    }
    task_t *task = calloc(1, sizeof *task);
    task->piece = malloc(PIECE_BYTES);
    task->set = service_waitable_set_new();
    service_context_set_0(task);
    return handle(task, path, request);
}

service_callback_code_t exports_wasi_http_handler_handle_callback(service_event_t *event) {
    task_t *task = service_context_get_0();
    service_waitable_join(event->waitable, 0);
    switch (event->event) {
    case SERVICE_EVENT_STREAM_READ:
    case SERVICE_EVENT_STREAM_WRITE:
        return pump(task, event->code, true);
    case SERVICE_EVENT_SUBTASK:
        if (SERVICE_SUBTASK_STATE(event->code) != SERVICE_SUBTASK_RETURNED)
            return wait(task, event->waitable, task->state);
        service_subtask_drop(event->waitable);
        if (task->state == STALLED) return finish(task);
        return advance(task);
    case SERVICE_EVENT_FUTURE_WRITE:
        return advance(task);
    default:
        __builtin_trap();
    }
}
