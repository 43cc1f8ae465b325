// Paths, numbers and addresses in text, for guests written in C. No libc call here needs WASI preview 1.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// What follows `prefix`, or NULL.
static inline const char *after(const char *path, const char *prefix) {
    size_t length = strlen(prefix);
    return strncmp(path, prefix, length) == 0 ? path + length : NULL;
}

// The number whose digits are at `*at`, which then points behind them.
static inline uint64_t number_at(const uint8_t **at, const uint8_t *end) {
    uint64_t value = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; ++*at) value = value * 10 + (uint64_t)(**at - '0');
    return value;
}

// The number that a text begins with.
static inline uint64_t number(const char *text) {
    const uint8_t *at = (const uint8_t *)text;
    return number_at(&at, at + strlen(text));
}

// Writes the digits of `value` and a zero, the zero last before `end`; gives the first digit. 21 bytes are enough.
static inline char *decimal(char *end, uint64_t value) {
    *--end = 0;
    do *--end = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    return end;
}

// The four numbers of an IPv4 address.
static inline void ipv4(const uint8_t *text, size_t size, uint8_t address[4]) {
    const uint8_t *at = text, *end = text + size;
    for (int i = 0; i < 4; i++, at++) address[i] = (uint8_t)number_at(&at, end);
}
