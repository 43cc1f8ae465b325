// What guests that speak wasi:http share, of 0.2 and of 0.3. It needs the bindings of the guest's world before it, and
// `WORLD(name)`, which makes a name of the world's own out of `name`.
#pragma once
#include "text.h"
#include <stdbool.h>

#define HTTP(name) wasi_http_types_##name
#define OWN(name) wasi_http_types_own_##name##_t
#define BORROW(name) wasi_http_types_borrow_##name

static const uint64_t HOUR_NS = 3600ULL * 1000 * 1000 * 1000;

// Gives a code of header-error, or -1.
static inline int append(OWN(fields) fields, const char *name, const uint8_t *value, size_t size) {
    HTTP(field_name_t) field = {(uint8_t *)name, strlen(name)};
    HTTP(field_value_t) text = {(uint8_t *)value, size};
    HTTP(header_error_t) error;
    return HTTP(method_fields_append)(BORROW(fields)(fields), &field, &text, &error) ? -1 : error.tag;
}

// The same with a text.
static inline int add(OWN(fields) fields, const char *name, const char *value) {
    return append(fields, name, (const uint8_t *)value, strlen(value));
}

// Copies as much of `text` as there is room for, and a zero.
static inline void copy_text(char *to, size_t room_bytes, WORLD(string_t) text) {
    size_t size = text.len < room_bytes ? text.len : room_bytes - 1;
    memcpy(to, text.ptr, size);
    to[size] = 0;
}

static inline bool equal(WORLD(string_t) text, const char *word) {
    return text.len == strlen(word) && memcmp(text.ptr, word, text.len) == 0;
}

// SCHEME://AUTHORITY[/PATH]
typedef struct {
    HTTP(scheme_t) scheme;
    WORLD(string_t) authority, path;
} url_t;

// False where `text` is no URL. Its parts are those of `text`.
static inline bool parse_url(WORLD(string_t) text, url_t *url) {
    uint8_t *end = text.ptr + text.len, *colon = memchr(text.ptr, ':', text.len);
    if (colon == NULL || end - colon < 4 || memcmp(colon, "://", 3) != 0) return false;
    uint8_t *host = colon + 3, *slash = memchr(host, '/', (size_t)(end - host));
    WORLD(string_t) scheme = {text.ptr, (size_t)(colon - text.ptr)};
    url->scheme = (HTTP(scheme_t)){.tag = WASI_HTTP_TYPES_SCHEME_OTHER, .val.other = scheme};
    if (equal(scheme, "http")) url->scheme.tag = WASI_HTTP_TYPES_SCHEME_HTTP;
    if (equal(scheme, "https")) url->scheme.tag = WASI_HTTP_TYPES_SCHEME_HTTPS;
    url->authority = (WORLD(string_t)){host, (size_t)((slash ? slash : end) - host)};
    url->path = slash ? (WORLD(string_t)){slash, (size_t)(end - slash)} : (WORLD(string_t)){(uint8_t *)"/", 1};
    return true;
}

// The URL in the one header `x-fetch` of a request, which stays allocated; false without it, or of another scheme than http
// and https.
static inline bool fetched_url(OWN(fields) headers, url_t *url) {
    HTTP(field_name_t) name = {(uint8_t *)"x-fetch", 7};
    HTTP(list_field_value_t) values;
    HTTP(method_fields_get)(BORROW(fields)(headers), &name, &values);
    if (values.len != 1) return false;
    WORLD(string_t) text = {values.ptr[0].ptr, values.ptr[0].len};
    return parse_url(text, url) && url->scheme.tag != WASI_HTTP_TYPES_SCHEME_OTHER;
}
