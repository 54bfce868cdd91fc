// Which piece comes next, from a lane's logits: the rules of sampling.py, piece by piece.
#pragma once

#include <algorithm>

#include "simd.h"

namespace unembed {

constexpr int32_t PAD = 0, END = 1;

struct Options {
    float penalty, temperature, top_p, min_p;
    int32_t top_k, no_repeat;
};

// log of the sum of e^logits (vocabulary).
inline float log_sum(const float* logits, int count) {
    const int whole = count / LANES * LANES;
    float most = logits[0];
    if (whole) {
        Vec best = load(logits);
        for (int at = LANES; at < whole; at += LANES) best = larger(best, load(logits + at));
        most = largest(best);
    }
    for (int at = whole; at < count; at++) most = std::max(most, logits[at]);
    if (most == -INFINITY) return most;
    Vec total{};
    for (int at = 0; at < whole; at += LANES) total += exponential(load(logits + at) - all(most));
    float rest = sum(total);
    for (int at = whole; at < count; at++) rest += std::exp(logits[at] - most);
    return most + std::log(rest);
}

// The first of the largest.
inline int32_t best_of(const float* values, int count) {
    float most = -INFINITY;
    const int whole = count / LANES * LANES;
    Vec best = all(-INFINITY);
    for (int at = 0; at < whole; at += LANES) best = larger(best, load(values + at));
    if (whole) most = largest(best);
    for (int at = whole; at < count; at++) most = std::max(most, values[at]);
    for (int at = 0; at < count; at++)
        if (values[at] == most) return at;
    return 0;
}

// `to` is the logits after what the pieces so far forbid or make less likely.
inline void restrict_to(const float* logits, int vocabulary, const int32_t* history, int length, const Options& options,
                        float* to) {
    std::memcpy(to, logits, vocabulary * sizeof(float));
    to[PAD] = -INFINITY;
    if (options.penalty > 1.0f)
        for (int at = 0; at < length; at++) {
            const int32_t piece = history[at];
            if (piece == PAD) continue;
            const float logit = logits[piece];  // the untouched one: a piece that was used twice is penalised once
            to[piece] = logit > 0.0f ? logit / options.penalty : logit * options.penalty;
        }
    const int size = options.no_repeat;
    if (size > 0)
        for (int at = 0; at + size <= length; at++)
            if (std::equal(history + at, history + at + size - 1, history + length - size + 1))
                to[history[at + size - 1]] = -INFINITY;
}

inline uint64_t mixed_bits(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

constexpr uint64_t GOLDEN = 0x9E3779B97F4A7C15u;

// Draws one piece; `allowed` (vocabulary) is spent, `scratch` (vocabulary) is room to sort in.
inline int32_t draw(float* allowed, int vocabulary, uint64_t key, int position, const Options& options, float* scratch) {
    for (int at = 0; at < vocabulary; at++) allowed[at] /= options.temperature;
    if (options.top_k > 0 && options.top_k < vocabulary) {
        std::copy(allowed, allowed + vocabulary, scratch);
        std::nth_element(scratch, scratch + options.top_k - 1, scratch + vocabulary, [](float a, float b) { return a > b; });
        const float floor = scratch[options.top_k - 1];
        for (int at = 0; at < vocabulary; at++)
            if (allowed[at] < floor) allowed[at] = -INFINITY;
    }
    if (options.top_p < 1.0f) {
        std::copy(allowed, allowed + vocabulary, scratch);
        std::sort(scratch, scratch + vocabulary, [](float a, float b) { return a > b; });
        const float whole = log_sum(allowed, vocabulary);
        float before = 0.0f;
        int kept = 0;
        while (kept < vocabulary && before < options.top_p) before += std::exp(scratch[kept++] - whole);
        const float floor = scratch[kept - 1];
        // Of pieces exactly as likely as the last one kept, sorting may keep any; the first in the table are kept.
        int ties = 0;
        for (int at = 0; at < kept; at++) ties += scratch[at] == floor;
        for (int at = 0; at < vocabulary; at++)
            if (allowed[at] < floor || (allowed[at] == floor && ties-- <= 0)) allowed[at] = -INFINITY;
    }
    if (options.min_p > 0.0f) {
        const float floor = allowed[best_of(allowed, vocabulary)] + std::log(options.min_p);
        for (int at = 0; at < vocabulary; at++)
            if (allowed[at] < floor) allowed[at] = -INFINITY;
    }
    const uint64_t state = mixed_bits(key + static_cast<uint64_t>(position) * GOLDEN);
    int32_t best = 0;
    float most = -INFINITY;
    for (int at = 0; at < vocabulary; at++) {
        if (allowed[at] == -INFINITY) continue;
        const uint64_t bits = mixed_bits(state + static_cast<uint64_t>(at + 1) * GOLDEN);
        const float uniform = (static_cast<float>((bits >> 40) & 0xFFFFFF) + 0.5f) / 16777216.0f;
        const float value = allowed[at] - std::log(-std::log(uniform));
        if (value > most) most = value, best = at;
    }
    return best;
}

}  // namespace unembed
