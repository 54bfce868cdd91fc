// Vectors of the width that this build's CPU has, and the three functions that the network needs of them.
//
// The compiler's own vector types carry the arithmetic, so one source serves SSE2, AVX2, AVX512 and NEON; what differs
// is the width, and the bf16 dot product, for which AVX512-bf16 has an instruction.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace unembed {

#if defined(__AVX512F__) || defined(UNEMBED_WIDE)  // WIDE: a test of that width on a CPU without it
constexpr int LANES = 16;
constexpr int VECTORS = 4;  // of a panel: 6 x 4 accumulators of 32 registers
#elif defined(__AVX__)
constexpr int LANES = 8;
constexpr int VECTORS = 2;  // 6 x 2 of 16
#elif defined(__aarch64__)
constexpr int LANES = 4;
constexpr int VECTORS = 4;  // 6 x 4 of 32
#else
constexpr int LANES = 4;
constexpr int VECTORS = 2;  // 6 x 2 of 16
#endif
constexpr int PANEL = LANES * VECTORS;  // columns that a GEMM kernel has in registers
constexpr int ROWS = 6;                 // and rows

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t Int __attribute__((vector_size(4 * LANES)));
typedef uint32_t Word __attribute__((vector_size(4 * LANES)));
typedef uint16_t bf16;  // the upper half of a float

constexpr int WIDTH = 64;  // rows are padded to a multiple of it, which is one of PANEL on each of these CPUs

inline int padded(int width) { return (width + WIDTH - 1) / WIDTH * WIDTH; }

inline Vec load(const float* from) {
    Vec value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline void store(float* to, Vec value) { std::memcpy(to, &value, sizeof value); }

inline Word load_words(const void* from) {
    Word value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline Vec all(float value) { return value - Vec{}; }

inline Word all_words(uint32_t value) { return value - Word{}; }

inline Vec as_floats(Word bits) {
    Vec value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline Vec as_floats(Int bits) {
    Vec value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline Int as_ints(Vec value) {
    Int bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline Vec pick(Int mask, Vec yes, Vec no) { return as_floats((mask & as_ints(yes)) | (~mask & as_ints(no))); }

inline Vec larger(Vec a, Vec b) { return pick(a > b, a, b); }

// Lane by lane in a fixed order, so that a sum is the same whatever else is in the tile.
inline float sum(Vec value) {
    float total = 0.0f;
    for (int half = LANES / 2; half >= 1; half /= 2)
        for (int lane = 0; lane < half; lane++) value[lane] += value[lane + half];
    total = value[0];
    return total;
}

inline float largest(Vec value) {
    float best = value[0];
    for (int lane = 1; lane < LANES; lane++) best = value[lane] > best ? value[lane] : best;
    return best;
}

// Whether a comparison holds in any lane.
inline bool any(Int mask) {
    uint64_t parts[LANES / 2], found = 0;
    std::memcpy(parts, &mask, sizeof parts);
    for (int at = 0; at < LANES / 2; at++) found |= parts[at];
    return found != 0;
}

inline Vec to_floats(Int value) { return __builtin_convertvector(value, Vec); }

inline Int to_ints(Vec value) { return __builtin_convertvector(value, Int); }

// e^x to about 2 units in the last place; 0 below -87.3.
inline Vec exponential(Vec x) {
    const Int tiny = x < all(-87.3f);
    x = pick(x > all(88.0f), all(88.0f), pick(tiny, all(-87.3f), x));
    // Rounded to the nearest whole number of times that ln 2 goes into x, by the float that has no bits for fractions.
    const Vec magic = all(12582912.0f);  // 1.5 * 2^23
    const Vec whole = (x * all(1.44269504088896341f) + magic) - magic;
    const Vec rest = (x - whole * all(0.693359375f)) - whole * all(-2.12194440e-4f);
    // The rest is within ln 2 / 2 of 0, where eight terms of the series are as exact as a float.
    Vec series = all(1.0f / 5040.0f);
    series = series * rest + all(1.0f / 720.0f);
    series = series * rest + all(1.0f / 120.0f);
    series = series * rest + all(1.0f / 24.0f);
    series = series * rest + all(1.0f / 6.0f);
    series = series * rest + all(0.5f);
    series = series * rest + all(1.0f);
    series = series * rest + all(1.0f);
    const Vec scale = as_floats((to_ints(whole) + 127) << 23);
    return pick(tiny, Vec{}, series * scale);
}

// erf, as a quotient of polynomials in x^2 that was fitted to it on [-4, 4], beyond which it is 1 to a float's precision:
// within 4e-7 everywhere, without an exponential.
inline Vec error_function(Vec x) {
    x = pick(x > all(4.0f), all(4.0f), pick(x < all(-4.0f), all(-4.0f), x));
    const Vec t = x * x;
    Vec above = all(2.0093957e-6f);
    above = above * t + all(2.85497974e-4f);
    above = above * t + all(3.85992241e-3f);
    above = above * t + all(5.30226489e-2f);
    above = above * t + all(1.92798379e-1f);
    above = above * t + all(1.12837905f);
    Vec below = all(3.77084744e-5f);
    below = below * t + all(1.18288462e-3f);
    below = below * t + all(1.51547897e-2f);
    below = below * t + all(1.15060548e-1f);
    below = below * t + all(5.04195044e-1f);
    below = below * t + all(1.0f);
    return x * above / below;
}

inline Vec gelu(Vec x) { return x * all(0.5f) * (all(1.0f) + error_function(x * all(0.70710678118654752f))); }

inline bf16 rounded(float value) {  // to the nearest, ties to even, as the CPU's own instruction does
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return static_cast<bf16>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

inline void put(float* to, Vec value) { store(to, value); }

inline void put(bf16* to, Vec value) {
    Word bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    for (int lane = 0; lane < LANES; lane++) to[lane] = static_cast<bf16>(bits[lane]);
}

// sums + a * b for pairs of bf16: each lane of a and b holds two, and adds two products to its sum.
inline Vec dot_pairs(Vec sums, Word a, Word b) {
#if defined(__AVX512BF16__)
    __m512 total;
    __m512bh left, right;
    std::memcpy(&total, &sums, sizeof total);
    std::memcpy(&left, &a, sizeof left);
    std::memcpy(&right, &b, sizeof right);
    total = _mm512_dpbf16_ps(total, left, right);
    std::memcpy(&sums, &total, sizeof total);
    return sums;
#else
    sums += as_floats(a << 16) * as_floats(b << 16);
    return sums + as_floats(a & 0xFFFF0000u) * as_floats(b & 0xFFFF0000u);
#endif
}

}  // namespace unembed
