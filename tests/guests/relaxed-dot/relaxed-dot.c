// In: nothing. Out: checksums of a quantised layer (i8 weights, i7 inputs) and of the other relaxed operations.
// The inputs keep to where every implementation that the relaxed SIMD proposal allows gives the same result;
// scalar code computes it again and exit 1 says that they differ.
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <wasm_simd128.h>

enum { INPUTS = 256, OUTPUTS = 64 };

static int8_t weights[OUTPUTS][INPUTS];
static uint8_t inputs[INPUTS];
static int32_t layer[OUTPUTS], expected_layer[OUTPUTS];

static uint32_t next_random(void) {
    static uint32_t state = 2024;
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static uint64_t fnv1a(const void *bytes, size_t count) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count; i++) hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
    return hash;
}

// Inputs stay below 128, so reading them as signed or unsigned is the same, and the i16 sum of two products
// stays within -128 * 127 * 2 = -32512, so saturating or wrapping is the same.
static void fill(void) {
    for (int i = 0; i < INPUTS; i++) inputs[i] = (uint8_t)(next_random() & 127);
    for (int o = 0; o < OUTPUTS; o++)
        for (int i = 0; i < INPUTS; i++) weights[o][i] = (int8_t)next_random();
    memset(weights[0], -128, INPUTS);
    memset(weights[1], 127, INPUTS);
}

static int32_t sum_lanes(v128_t v) {
    return wasm_i32x4_extract_lane(v, 0) + wasm_i32x4_extract_lane(v, 1) + wasm_i32x4_extract_lane(v, 2) +
           wasm_i32x4_extract_lane(v, 3);
}

static void layer_relaxed(void) {
    for (int o = 0; o < OUTPUTS; o++) {
        v128_t sum = wasm_i32x4_splat(0), pairs = wasm_i32x4_splat(0);
        for (int i = 0; i < INPUTS; i += 16) {
            v128_t w = wasm_v128_load(&weights[o][i]), x = wasm_v128_load(&inputs[i]);
            sum = wasm_i32x4_relaxed_dot_i8x16_i7x16_add(w, x, sum);
            v128_t products = wasm_i16x8_relaxed_dot_i8x16_i7x16(w, x);
            pairs = wasm_i32x4_add(pairs, wasm_i32x4_extadd_pairwise_i16x8(products));
        }
        layer[o] = sum_lanes(sum) * 3 + sum_lanes(pairs);
    }
}

static void layer_scalar(void) {
    for (int o = 0; o < OUTPUTS; o++) {
        int32_t sum = 0;
        for (int i = 0; i < INPUTS; i++) sum += weights[o][i] * inputs[i];
        expected_layer[o] = sum * 4;
    }
}

typedef struct {
    int8_t swizzled[16], selected[16];
    int16_t scaled[8];
    int32_t truncated[4];
    float fused[4], negated[4], smaller[4], larger[4];
} Lanes;

// a and b are small integers and never both zero of different signs: fused or not, min/max, and the
// conversions are exact. Masks are all ones or all zeros, swizzle indices below 16, q15 never (-1) * (-1).
static void lanes_relaxed(Lanes *out, const float *a, const float *b, const int8_t *bytes, const uint8_t *picks) {
    v128_t x = wasm_v128_load(a), y = wasm_v128_load(b);
    v128_t values = wasm_v128_load(bytes), indices = wasm_v128_load(picks);
    v128_t swizzled = wasm_i8x16_relaxed_swizzle(values, indices);
    v128_t mask = wasm_i8x16_gt(values, swizzled);
    wasm_v128_store(out->swizzled, swizzled);
    wasm_v128_store(out->selected, wasm_i8x16_relaxed_laneselect(values, swizzled, mask));
    wasm_v128_store(out->scaled, wasm_i16x8_relaxed_q15mulr(wasm_i16x8_extend_low_i8x16(values),
                                                            wasm_i16x8_splat(16384)));
    wasm_v128_store(out->truncated, wasm_i32x4_relaxed_trunc_f32x4(x));
    wasm_v128_store(out->fused, wasm_f32x4_relaxed_madd(x, y, x));
    wasm_v128_store(out->negated, wasm_f32x4_relaxed_nmadd(x, y, y));
    wasm_v128_store(out->smaller, wasm_f32x4_relaxed_min(x, y));
    wasm_v128_store(out->larger, wasm_f32x4_relaxed_max(x, y));
}

static void lanes_scalar(Lanes *out, const float *a, const float *b, const int8_t *bytes, const uint8_t *picks) {
    for (int i = 0; i < 16; i++) {
        out->swizzled[i] = bytes[picks[i]];
        out->selected[i] = bytes[i] > bytes[picks[i]] ? bytes[i] : bytes[picks[i]];
    }
    for (int i = 0; i < 8; i++) out->scaled[i] = (int16_t)((bytes[i] * 16384 + 0x4000) >> 15);
    for (int i = 0; i < 4; i++) {
        out->truncated[i] = (int32_t)a[i];
        out->fused[i] = a[i] * b[i] + a[i];
        out->negated[i] = -(a[i] * b[i]) + b[i];
        out->smaller[i] = a[i] < b[i] ? a[i] : b[i];
        out->larger[i] = a[i] > b[i] ? a[i] : b[i];
    }
}

int main(void) {
    static Lanes lanes[64], expected_lanes[64];
    fill();
    layer_relaxed();
    layer_scalar();
    for (int round = 0; round < 64; round++) {
        float a[4], b[4];
        int8_t bytes[16];
        uint8_t picks[16];
        for (int i = 0; i < 4; i++) {
            a[i] = (float)((int)(next_random() % 4001) - 2000) + 0.5f;
            b[i] = (float)((int)(next_random() % 2001) - 1000) + 0.25f;
        }
        for (int i = 0; i < 16; i++) bytes[i] = (int8_t)next_random(), picks[i] = next_random() & 15;
        lanes_relaxed(&lanes[round], a, b, bytes, picks);
        lanes_scalar(&expected_lanes[round], a, b, bytes, picks);
    }
    printf("layer %016" PRIx64 " first %d last %d\n", fnv1a(layer, sizeof layer), layer[0], layer[OUTPUTS - 1]);
    printf("lanes %016" PRIx64 "\n", fnv1a(lanes, sizeof lanes));
    int agrees = memcmp(layer, expected_layer, sizeof layer) == 0 &&
                 memcmp(lanes, expected_lanes, sizeof lanes) == 0;
    puts(agrees ? "scalar agrees" : "scalar DIFFERS");
    return agrees ? 0 : 1;
}
