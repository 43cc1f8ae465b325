// In: argv[1], the size of the matrices (a multiple of 4 up to 128; 64 when absent).
// Out: FNV-1a checksums of a matrix product in f32x4, a 3x3 blur in u8/u16 lanes, and bit counts. Each is also
// computed in scalar code in the same order; exit 1 when a single bit differs.
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasm_simd128.h>

enum { SIZE_MAX_ELEMENTS = 128, WIDTH = 256, HEIGHT = 64, STRIDE = WIDTH + 32 };

static float a[SIZE_MAX_ELEMENTS * SIZE_MAX_ELEMENTS], b[SIZE_MAX_ELEMENTS * SIZE_MAX_ELEMENTS];
static float product[SIZE_MAX_ELEMENTS * SIZE_MAX_ELEMENTS], expected_product[SIZE_MAX_ELEMENTS * SIZE_MAX_ELEMENTS];
// One pixel of border on each side, 16 on the left to keep rows aligned.
static uint8_t image[(HEIGHT + 2) * STRIDE], blurred[HEIGHT * WIDTH], expected_blurred[HEIGHT * WIDTH];

static uint32_t next_random(void) {
    static uint32_t state = 12345;
    state = state * 1664525u + 1013904223u;
    return state;
}

static uint64_t fnv1a(const void *bytes, size_t count) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count; i++) hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
    return hash;
}

// 24 random bits: products need rounding, so a compiler that fuses multiply and add changes the checksum.
static float next_float(void) { return (float)(next_random() >> 8) * 0x1p-23f - 1.0f; }

static void multiply_simd(int size) {
    for (int row = 0; row < size; row++)
        for (int column = 0; column < size; column += 4) {
            v128_t sum = wasm_f32x4_splat(0);
            for (int k = 0; k < size; k++) {
                v128_t left = wasm_v128_load32_splat(&a[row * size + k]);
                v128_t right = wasm_v128_load(&b[k * size + column]);
                sum = wasm_f32x4_add(sum, wasm_f32x4_mul(left, right));
            }
            wasm_v128_store(&product[row * size + column], sum);
        }
}

static void multiply_scalar(int size) {
    for (int row = 0; row < size; row++)
        for (int column = 0; column < size; column++) {
            float sum = 0;
            for (int k = 0; k < size; k++) sum += a[row * size + k] * b[k * size + column];
            expected_product[row * size + column] = sum;
        }
}

static void fill_image(void) {
    for (int y = 0; y < HEIGHT + 2; y++)
        for (int x = 0; x < STRIDE; x++) image[y * STRIDE + x] = (uint8_t)(next_random() >> 24);
}

// left + 2 * middle + right of the low or high 8 pixels around `pixel`.
static v128_t weigh_low(const uint8_t *pixel) {
    v128_t left = wasm_u16x8_load8x8(pixel - 1), middle = wasm_u16x8_load8x8(pixel);
    v128_t right = wasm_u16x8_load8x8(pixel + 1);
    return wasm_i16x8_add(wasm_i16x8_add(left, right), wasm_i16x8_shl(middle, 1));
}

static v128_t weigh_high(const uint8_t *pixel) {
    v128_t left = wasm_u16x8_extend_high_u8x16(wasm_v128_load(pixel - 1));
    v128_t middle = wasm_u16x8_extend_high_u8x16(wasm_v128_load(pixel));
    v128_t right = wasm_u16x8_extend_high_u8x16(wasm_v128_load(pixel + 1));
    return wasm_i16x8_add(wasm_i16x8_add(left, right), wasm_i16x8_mul(middle, wasm_i16x8_splat(2)));
}

static void blur_simd(void) {
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x += 16) {
            const uint8_t *above = image + y * STRIDE + 16 + x, *here = above + STRIDE, *below = here + STRIDE;
            v128_t low = wasm_i16x8_add(wasm_i16x8_add(weigh_low(above), weigh_low(below)),
                                        wasm_i16x8_shl(weigh_low(here), 1));
            v128_t high = wasm_i16x8_add(wasm_i16x8_add(weigh_high(above), weigh_high(below)),
                                         wasm_i16x8_shl(weigh_high(here), 1));
            v128_t half = wasm_i16x8_splat(8);
            low = wasm_u16x8_shr(wasm_i16x8_add(low, half), 4);
            high = wasm_u16x8_shr(wasm_i16x8_add(high, half), 4);
            wasm_v128_store(blurred + y * WIDTH + x, wasm_u8x16_narrow_i16x8(low, high));
        }
}

static void blur_scalar(void) {
    static const int weight[3] = {1, 2, 1};
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            int sum = 8;
            for (int dy = 0; dy < 3; dy++)
                for (int dx = 0; dx < 3; dx++)
                    sum += weight[dy] * weight[dx] * image[(y + dy) * STRIDE + 15 + x + dx];
            expected_blurred[y * WIDTH + x] = (uint8_t)(sum >> 4);
        }
}

typedef struct {
    uint32_t ones, bright, alternating;
} Counts;

// Pixels' one bits, pixels above 127, and the sum of pixels with every second one negated.
static Counts count_simd(void) {
    v128_t ones = wasm_i32x4_splat(0), dots = wasm_i32x4_splat(0);
    v128_t signs = wasm_i16x8_make(1, -1, 1, -1, 1, -1, 1, -1);
    Counts counts = {0, 0, 0};
    for (int i = 0; i < HEIGHT * WIDTH; i += 16) {
        v128_t pixels = wasm_v128_load(blurred + i);
        ones = wasm_i32x4_add(ones, wasm_u32x4_extadd_pairwise_u16x8(
                                        wasm_u16x8_extadd_pairwise_u8x16(wasm_i8x16_popcnt(pixels))));
        counts.bright += (uint32_t)__builtin_popcount(wasm_i8x16_bitmask(pixels));
        dots = wasm_i32x4_add(dots, wasm_i32x4_dot_i16x8(wasm_u16x8_extend_low_u8x16(pixels), signs));
        dots = wasm_i32x4_add(dots, wasm_i32x4_dot_i16x8(wasm_u16x8_extend_high_u8x16(pixels), signs));
    }
    uint32_t lanes[8];
    wasm_v128_store(lanes, ones);
    wasm_v128_store(lanes + 4, dots);
    counts.ones = lanes[0] + lanes[1] + lanes[2] + lanes[3];
    counts.alternating = lanes[4] + lanes[5] + lanes[6] + lanes[7];
    return counts;
}

static Counts count_scalar(void) {
    Counts counts = {0, 0, 0};
    for (int i = 0; i < HEIGHT * WIDTH; i++) {
        counts.ones += (uint32_t)__builtin_popcount(blurred[i]);
        counts.bright += blurred[i] > 127;
        counts.alternating += i % 2 == 0 ? blurred[i] : -(uint32_t)blurred[i];
    }
    return counts;
}

int main(int argc, char **argv) {
    int size = argc > 1 ? atoi(argv[1]) : 64;
    if (size < 4 || size > SIZE_MAX_ELEMENTS || size % 4 != 0) {
        fputs("matmul: the size is a multiple of 4 up to 128\n", stderr);
        return 2;
    }
    for (int i = 0; i < size * size; i++) a[i] = next_float(), b[i] = next_float();
    multiply_simd(size);
    multiply_scalar(size);
    fill_image();
    blur_simd();
    blur_scalar();
    Counts counts = count_simd(), expected_counts = count_scalar();

    size_t product_bytes = (size_t)(size * size) * sizeof *product;
    printf("product %dx%d %016" PRIx64 " first %.6f\n", size, size, fnv1a(product, product_bytes), product[0]);
    printf("blur %dx%d %016" PRIx64 "\n", WIDTH, HEIGHT, fnv1a(blurred, sizeof blurred));
    printf("counts ones=%u bright=%u alternating=%d\n", counts.ones, counts.bright, (int)counts.alternating);
    int agrees = memcmp(product, expected_product, product_bytes) == 0 &&
                 memcmp(blurred, expected_blurred, sizeof blurred) == 0 &&
                 memcmp(&counts, &expected_counts, sizeof counts) == 0;
    puts(agrees ? "scalar agrees" : "scalar DIFFERS");
    return agrees ? 0 : 1;
}
