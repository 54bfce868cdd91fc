// The folded network: one layer, whose norms and output projection are in the weights (folding.py says how).
//
// A lane is one text that is being written or read. A tile of lanes takes one step together; each lane stands at a
// position of its own, and has its keys and values to itself.
#pragma once

#include "gemm.h"

namespace unembed {

constexpr float EPSILON = 1e-5f;  // of the norms

struct Shape {
    int32_t embedding, hidden, heads, head, units, gated, vocabulary, positions;
};

// As folding.py gives them: row-major float32.
struct Weights {
    const float* bridge;       // (hidden, embedding)
    const float* bridge_norm;  // (2, hidden): weight, bias
    const float* gate;         // (gated, embedding)
    const float* pieces;       // (vocabulary, hidden): 8 P
    const float* mixed;        // (mixed, hidden): q and k of all heads, then v of each, in the residual's space
    const float* mixed_bias;   // (mixed)
    const float* mixed_pieces; // (vocabulary, mixed): mixed x pieces
    const float* up;           // (units, hidden)
    const float* up_bias;      // (units)
    const float* down;         // (hidden, units)
    const float* out;          // (vocabulary, hidden)
    const float* out_bias;     // (vocabulary)
    const float* cos;          // (positions, head / 2)
    const float* sin;          // (positions, head / 2)
};

// Numbers of the memory's layout. Widths are padded to a multiple of WIDTH by zeros.
struct Layout {
    int hidden, head, units, vocabulary, mixed;
    int keys;    // of one position: heads x head
    int values;  // of one position: heads x hidden; an even number of heads in bf16, where two lie interleaved
    int entry;   // keys + values
};

// What a row of embeddings is to the network.
struct Reading {
    float* context;  // (hidden)
    float* gates;    // (units): 1 + gate, 1 for units without one
    float* mixed;    // (mixed): mixed x context
};

template <typename T>
struct Lane {
    const Reading* reading;
    int position;         // 0: the embedding itself
    int32_t previous;     // the piece before; -1 at position 0
    T* cache;             // of its row: (positions, stride) entries
    int stride;           // entries from position to position
    int own;              // the entry of a position that it writes
    const uint8_t* line;  // of each position before, which entry it descends from; nullptr: its own
    T* entry(const Layout& layout, int at) const {
        const int which = line && at < position ? line[at] : own;
        return cache + (static_cast<size_t>(at) * stride + which) * layout.entry;
    }
};

template <typename T>
class Network {
   public:
    Shape shape{};
    Layout layout{};
    Buffer<float> pieces, mixed_bias, mixed_pieces, bridge_norm, cos, sin;
    Packed<T> bridge, gate, mixed, up, down, out;
    Buffer<float> nothing;  // zeros, as wide as the widest product

    bool fold(const Shape& given, const Weights& w) {
        shape = given;
        const int heads = shape.heads, value_heads = sizeof(T) == 2 ? (heads + 1) / 2 * 2 : heads;
        layout.hidden = padded(shape.hidden);
        layout.head = padded(shape.head);
        layout.units = padded(shape.units);
        layout.vocabulary = padded(shape.vocabulary);
        layout.keys = heads * layout.head;
        layout.values = value_heads * layout.hidden;
        layout.entry = layout.keys + layout.values;
        const int wide = heads * (2 * shape.head + shape.hidden);
        layout.mixed = padded(wide);
        const size_t half = static_cast<size_t>(shape.positions) * (shape.head / 2);
        return copy(pieces, w.pieces, shape.vocabulary, shape.hidden, layout.hidden) &&
               copy(mixed_pieces, w.mixed_pieces, shape.vocabulary, wide, layout.mixed) &&
               copy(mixed_bias, w.mixed_bias, 1, wide, layout.mixed) &&
               copy(bridge_norm, w.bridge_norm, 2, shape.hidden, layout.hidden) && copy(cos, w.cos, 1, half, half) &&
               copy(sin, w.sin, 1, half, half) &&
               bridge.pack(w.bridge, nullptr, shape.hidden, shape.embedding) &&
               (shape.gated == 0 || gate.pack(w.gate, nullptr, shape.gated, shape.embedding)) &&
               mixed.pack(w.mixed, nullptr, wide, shape.hidden) && up.pack(w.up, w.up_bias, shape.units, shape.hidden) &&
               down.pack(w.down, nullptr, shape.hidden, shape.units) &&
               out.pack(w.out, w.out_bias, shape.vocabulary, shape.hidden);
    }

   private:
    static bool copy(Buffer<float>& to, const float* from, int rows, size_t width, size_t step) {
        if (!to.allocate(rows * step)) return false;
        for (int row = 0; row < rows; row++)
            std::memcpy(to.data() + row * step, from + row * width, width * sizeof(float));
        return true;
    }
};

// Of the first `width` numbers of a padded row.
struct Spread {
    float mean;
    float scale;  // 1 / deviation
};

inline Spread spread(const float* x, int width, int step) {
    Vec total{}, squares{};
    for (int at = 0; at < step; at += LANES) total += load(x + at);
    const float mean = sum(total) / width;
    const int whole = width / LANES * LANES;
    for (int at = 0; at < whole; at += LANES) {
        const Vec off = load(x + at) - all(mean);
        squares += off * off;
    }
    float square = sum(squares);
    for (int at = whole; at < width; at++) square += (x[at] - mean) * (x[at] - mean);
    return {mean, 1.0f / std::sqrt(square / width + EPSILON)};
}

// (x - mean) / deviation of a padded row; the padding becomes 0 again.
template <typename T>
inline void normalise(const float* x, int width, int step, T* to) {
    const Spread of = spread(x, width, step);
    const int whole = width / LANES * LANES;
    for (int at = 0; at < whole; at += LANES) put(to + at, (load(x + at) - all(of.mean)) * all(of.scale));
    if (whole < width) {
        Vec last = (load(x + whole) - all(of.mean)) * all(of.scale);
        for (int lane = width - whole; lane < LANES; lane++) last[lane] = 0.0f;
        put(to + whole, last);
    }
}

}  // namespace unembed
