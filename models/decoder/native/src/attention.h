// Attention of one lane to its own past: float32, and bf16 with two heads' values side by side.
#pragma once

#include "network.h"

namespace unembed {

inline float score(const float* query, const float* key, int width) {
    Vec first{}, second{};
    for (int at = 0; at < width; at += 2 * LANES) {  // a padded head is a whole number of pairs of vectors
        first += load(query + at) * load(key + at);
        second += load(query + at + LANES) * load(key + at + LANES);
    }
    return sum(first + second);
}

inline float score(const bf16* query, const bf16* key, int width) {
    Vec total{};
    for (int at = 0; at < width; at += 2 * LANES)
        total = dot_pairs(total, load_words(query + at), load_words(key + at));
    return sum(total);
}

// Weights of the positions, scores (positions) with room for a vector more, in place.
inline void softmax(float* scores, int positions) {
    for (int at = positions; at % LANES; at++) scores[at] = -INFINITY;
    Vec most = load(scores);
    for (int at = LANES; at < positions; at += LANES) most = larger(most, load(scores + at));
    const Vec top = all(largest(most));
    Vec total{};
    for (int at = 0; at < positions; at += LANES) {
        const Vec weight = exponential(load(scores + at) - top);
        store(scores + at, weight);
        total += weight;
    }
    const Vec share = all(1.0f / sum(total));
    for (int at = 0; at < positions; at += LANES) store(scores + at, load(scores + at) * share);
}

// So many numbers of all values are gathered in one pass: they fill the registers, and lie on neighbouring lines.
constexpr int GATHERED = LANES >= 8 ? 64 : 32;
constexpr int GATHERS = GATHERED / LANES;

// The residual x (hidden) takes what each head found: weights (heads, step) of positions.
inline void gather(const Lane<float>& lane, const Layout& layout, int heads, const float* weights, int step, float* x) {
    const int positions = lane.position + 1;
    for (int at = 0; at < layout.hidden; at += GATHERED) {
        Vec found[GATHERS];
        for (int v = 0; v < GATHERS; v++) found[v] = load(x + at + v * LANES);
        for (int position = 0; position < positions; position++) {
            const float* values = lane.entry(layout, position) + layout.keys + at;
            for (int head = 0; head < heads; head++, values += layout.hidden) {
                const Vec weight = all(weights[head * step + position]);
                for (int v = 0; v < GATHERS; v++) found[v] += weight * load(values + v * LANES);
            }
        }
        for (int v = 0; v < GATHERS; v++) store(x + at + v * LANES, found[v]);
    }
}

inline void gather(const Lane<bf16>& lane, const Layout& layout, int heads, const float* weights, int step, float* x) {
    const int positions = lane.position + 1;
    for (int at = 0; at < layout.hidden; at += GATHERED) {
        Vec found[GATHERS];
        for (int v = 0; v < GATHERS; v++) found[v] = load(x + at + v * LANES);
        for (int position = 0; position < positions; position++) {
            const bf16* values = lane.entry(layout, position) + layout.keys + 2 * at;
            for (int head = 0; head < heads; head += 2, values += 2 * layout.hidden) {
                const uint32_t low = rounded(weights[head * step + position]);
                const uint32_t high = head + 1 < heads ? rounded(weights[(head + 1) * step + position]) : 0;
                const Word pair = all_words(low | high << 16);
                for (int v = 0; v < GATHERS; v++)
                    found[v] = dot_pairs(found[v], pair, load_words(values + v * 2 * LANES));
            }
        }
        for (int v = 0; v < GATHERS; v++) store(x + at + v * LANES, found[v]);
    }
}

inline void keep_values(float* to, const float* values, int heads, int hidden, int step) {
    for (int head = 0; head < heads; head++)
        std::memcpy(to + static_cast<size_t>(head) * step, values + static_cast<size_t>(head) * hidden,
                    hidden * sizeof(float));
}

inline void keep_values(bf16* to, const float* values, int heads, int hidden, int step) {
    for (int head = 0; head < heads; head++) {
        bf16* pair = to + static_cast<size_t>(head / 2) * 2 * step + head % 2;
        for (int at = 0; at < hidden; at++) pair[2 * at] = rounded(values[static_cast<size_t>(head) * hidden + at]);
    }
}

}  // namespace unembed
