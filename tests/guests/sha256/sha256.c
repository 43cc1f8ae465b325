// In: the files named in argv, or stdin when there are none ("-" is stdin too).
// Out: one line "DIGEST  NAME" each, as sha256sum prints them; exit 1 when a file could not be read.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    uint32_t state[8];
    uint8_t block[64];
    size_t filled;
    uint64_t bytes;
} Hasher;

// FIPS 180-4, 4.2.2: the first 32 bits of the fractions of the cube roots of the first 64 primes.
static const uint32_t ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate_right(uint32_t word, int bits) { return (word >> bits) | (word << (32 - bits)); }

static void start(Hasher *hasher) {
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hasher->state, initial, sizeof initial);
    hasher->filled = 0;
    hasher->bytes = 0;
}

static void compress(Hasher *hasher) {
    uint32_t word[64];
    for (int i = 0; i < 16; i++) {
        const uint8_t *b = hasher->block + 4 * i;
        word[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t w15 = word[i - 15], w2 = word[i - 2];
        uint32_t s0 = rotate_right(w15, 7) ^ rotate_right(w15, 18) ^ (w15 >> 3);
        uint32_t s1 = rotate_right(w2, 17) ^ rotate_right(w2, 19) ^ (w2 >> 10);
        word[i] = word[i - 16] + s0 + word[i - 7] + s1;
    }
    uint32_t s[8];
    memcpy(s, hasher->state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t sum1 = rotate_right(s[4], 6) ^ rotate_right(s[4], 11) ^ rotate_right(s[4], 25);
        uint32_t choose = (s[4] & s[5]) ^ (~s[4] & s[6]);
        uint32_t t1 = s[7] + sum1 + choose + ROUND[i] + word[i];
        uint32_t sum0 = rotate_right(s[0], 2) ^ rotate_right(s[0], 13) ^ rotate_right(s[0], 22);
        uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + sum0 + majority;
    }
    for (int i = 0; i < 8; i++) hasher->state[i] += s[i];
    hasher->filled = 0;
}

static void update(Hasher *hasher, const uint8_t *bytes, size_t count) {
    hasher->bytes += count;
    while (count > 0) {
        size_t take = 64 - hasher->filled < count ? 64 - hasher->filled : count;
        memcpy(hasher->block + hasher->filled, bytes, take);
        hasher->filled += take;
        bytes += take;
        count -= take;
        if (hasher->filled == 64) compress(hasher);
    }
}

static void finish(Hasher *hasher, char hex[65]) {
    uint64_t bits = hasher->bytes * 8;
    uint8_t length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
    update(hasher, (const uint8_t *)"\x80", 1);
    while (hasher->filled != 56) update(hasher, (const uint8_t *)"", 1);
    update(hasher, length, sizeof length);
    for (int i = 0; i < 64; i++) hex[i] = "0123456789abcdef"[hasher->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    hex[64] = 0;
}

static int print_digest(const char *name) {
    static uint8_t buffer[16384];
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
    if (file == NULL) {
        perror(name);
        return 1;
    }
    Hasher hasher;
    start(&hasher);
    size_t count;
    while ((count = fread(buffer, 1, sizeof buffer, file)) > 0) update(&hasher, buffer, count);
    int failed = ferror(file);
    if (failed) perror(name);
    if (file != stdin) fclose(file);
    char hex[65];
    finish(&hasher, hex);
    if (!failed) {
        fputs(hex, stdout);
        fputs("  ", stdout);
        puts(name);
    }
    return failed ? 1 : 0;
}

int main(int argc, char **argv) {
    if (argc < 2) return print_digest("-");
    int status = 0;
    for (int i = 1; i < argc; i++) status |= print_digest(argv[i]);
    return status;
}
