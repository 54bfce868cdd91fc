// The sketch: a vector for each word and each pair of neighbouring words. A text's sketch is the sum of its rows, so an
// edit of a word changes it by a few of them, and thousands of edits can be weighed in a millisecond.
#pragma once

#include <algorithm>
#include <atomic>

#include "gemm.h"

namespace unembed {

// As edits.py gives it: row-major float32.
struct SketchRows {
    const float* rows;         // (words + pairs, width)
    const float* priors;       // (words + pairs): log p(word), log p(second | first), nats
    const int32_t* pairs;      // (pairs, 2): words
    int32_t width, words, count;  // count: of pairs
    int32_t glance;            // numbers of a row that a word is chosen by to be tried at all
    int32_t begin, end;        // the words that stand for the two ends of a text
    float backoff;             // added to log p(word) where the pair is unknown
    float unknown;             // log p of an unknown word
};

class Sketch {
   public:
    int width = 0, step = 0, words = 0, known = 0, begin = 0, end = 0;  // known: pairs
    float backoff = 0.0f, unknown = 0.0f;
    Buffer<float> rows;             // of words and pairs
    Buffer<float> priors, squares;  // of words
    Packed<float> glanced;          // of the words alone, the first numbers of each

    bool fold(const SketchRows& given) {
        width = given.width, words = given.words, known = given.count, begin = given.begin, end = given.end;
        backoff = given.backoff, unknown = given.unknown;
        step = (width + LANES - 1) / LANES * LANES;
        const size_t count = static_cast<size_t>(words) + given.count;
        size_t slots = 64;
        while (slots < 2 * static_cast<size_t>(given.count) + 2) slots *= 2;
        mask_ = slots - 1;
        if (!rows.allocate(count * step) || !priors.allocate(words) || !squares.allocate(words) || !slots_.allocate(slots) ||
            !glanced.pack(given.rows, nullptr, words, std::min(given.glance, width), width))
            return false;
        for (size_t at = 0; at < count; at++)
            std::memcpy(rows.data() + at * step, given.rows + at * width, width * sizeof(float));
        std::memcpy(priors.data(), given.priors, words * sizeof(float));
        for (int word = 0; word < words; word++) {
            Vec total{};
            for (int at = 0; at < step; at += LANES) total += load(row(word) + at) * load(row(word) + at);
            squares[word] = sum(total);
        }
        for (int at = 0; at < given.count; at++) {
            const uint64_t key = key_of(given.pairs[2 * at], given.pairs[2 * at + 1]);
            size_t slot = hash(key) & mask_;
            while (slots_[slot].key) slot = (slot + 1) & mask_;
            slots_[slot] = {key, {words + at, given.priors[words + at]}};
        }
        return true;
    }

    const float* row(int at) const { return rows.data() + static_cast<size_t>(at) * step; }

    // What is known of two neighbours: their row, -1 where there is none, and log p(second | first).
    struct Pair {
        int32_t row;
        float prior;
    };

    Pair pair(int first, int second) const {
        if (second < 0) return {-1, unknown};
        if (first >= 0) {
            const uint64_t key = key_of(first, second);
            for (size_t slot = hash(key) & mask_; slots_[slot].key; slot = (slot + 1) & mask_)
                if (slots_[slot].key == key) return slots_[slot].pair;
        }
        return {-1, alone(second)};
    }

    // log p of a word after one that it was seldom seen after.
    float alone(int word) const { return word < 0 ? unknown : priors[word] + backoff; }

    // Calls `take` with the words of each pair, and its prior; of one first word.
    template <typename Take>
    void each_pair(Take take) const {
        for (size_t slot = 0; slot <= mask_; slot++)
            if (slots_[slot].key) take(static_cast<int>((slots_[slot].key - 1) >> 32), static_cast<int>((slots_[slot].key - 1) & 0xFFFFFFFF), slots_[slot].pair.prior);
    }

   private:
    struct Slot {
        uint64_t key;  // 0: it is free
        Pair pair;
    };

    static uint64_t key_of(int first, int second) { return (static_cast<uint64_t>(first) << 32 | static_cast<uint32_t>(second)) + 1; }
    static size_t hash(uint64_t key) { return static_cast<size_t>((key * 0x9E3779B97F4A7C15ull) >> 20); }

    size_t mask_ = 0;
    Buffer<Slot> slots_;
};

}  // namespace unembed
