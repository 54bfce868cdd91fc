// Products of a few rows with weights that are packed once: [panel][k][PANEL], in bf16 [panel][k / 2][PANEL][2].
//
// A panel stays in the first cache while all rows of a tile pass it. Each number of the product is summed over k in the
// same order whatever rows stand beside it, so a row's text does not depend on what it is decoded with.
#pragma once

#include <cstdlib>

#include "simd.h"

namespace unembed {

// Zeroed memory on the lines of the cache, freed with its owner.
template <typename T>
class Buffer {
   public:
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(memory_); }

    // False where there is not as much memory.
    bool allocate(size_t count) {
        std::free(memory_);
        memory_ = std::calloc(count * sizeof(T) + 64, 1);  // calloc: pages that no row reaches are never touched
        const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory_) + 63) / 64 * 64;
        data_ = memory_ ? reinterpret_cast<T*>(begin) : nullptr;
        return memory_ != nullptr;
    }

    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](size_t at) { return data_[at]; }
    const T& operator[](size_t at) const { return data_[at]; }

   private:
    void* memory_ = nullptr;
    T* data_ = nullptr;
};

template <typename T>
struct Packed {
    int inner = 0;  // k, even
    int outer = 0;  // columns, padded
    Buffer<T> weights;
    Buffer<float> bias;  // (outer), what a product begins with

    // From rows (columns, k), each `step` after the one before or, by default, k, and a bias (columns) or none.
    bool pack(const float* rows, const float* added, int columns, int k, int step = 0) {
        inner = (k + 1) / 2 * 2;
        outer = padded(columns);
        if (!weights.allocate(static_cast<size_t>(inner) * outer) || !bias.allocate(outer)) return false;
        for (int column = 0; column < columns; column++) {
            for (int at = 0; at < k; at++) place(column, at, rows[static_cast<size_t>(column) * (step ? step : k) + at]);
            if (added) bias[column] = added[column];
        }
        return true;
    }

   private:
    void place(int column, int at, float value);
};

template <>
inline void Packed<float>::place(int column, int at, float value) {
    const size_t panel = static_cast<size_t>(column / PANEL) * inner * PANEL;
    weights[panel + static_cast<size_t>(at) * PANEL + column % PANEL] = value;
}

template <>
inline void Packed<bf16>::place(int column, int at, float value) {
    const size_t panel = static_cast<size_t>(column / PANEL) * inner * PANEL;
    weights[panel + static_cast<size_t>(at / 2) * PANEL * 2 + (column % PANEL) * 2 + at % 2] = rounded(value);
}

template <int R>
inline void products(Vec (&sums)[R][VECTORS], const float* left, size_t left_step, const float* panel, int inner) {
    for (int k = 0; k < inner; k++, panel += PANEL) {
        Vec right[VECTORS];
        for (int v = 0; v < VECTORS; v++) right[v] = load(panel + v * LANES);
        for (int row = 0; row < R; row++) {
            const Vec one = all(left[row * left_step + k]);
            for (int v = 0; v < VECTORS; v++) sums[row][v] += one * right[v];
        }
    }
}

template <int R>
inline void products(Vec (&sums)[R][VECTORS], const bf16* left, size_t left_step, const bf16* panel, int inner) {
    for (int k = 0; k < inner; k += 2, panel += PANEL * 2) {
        Word right[VECTORS];
        for (int v = 0; v < VECTORS; v++) right[v] = load_words(panel + v * LANES * 2);
        for (int row = 0; row < R; row++) {
            uint32_t pair;
            std::memcpy(&pair, left + row * left_step + k, sizeof pair);
            for (int v = 0; v < VECTORS; v++) sums[row][v] = dot_pairs(sums[row][v], all_words(pair), right[v]);
        }
    }
}

// R rows and one panel: out = from + left x panel, where `from` is a bias (from_step 0) or `out` itself.
template <int R, typename T>
void kernel(const T* left, size_t left_step, const T* panel, int inner, const float* from, size_t from_step, float* out,
            size_t out_step) {
    Vec sums[R][VECTORS];
    for (int row = 0; row < R; row++)
        for (int v = 0; v < VECTORS; v++) sums[row][v] = load(from + row * from_step + v * LANES);
    products<R>(sums, left, left_step, panel, inner);
    for (int row = 0; row < R; row++)
        for (int v = 0; v < VECTORS; v++) store(out + row * out_step + v * LANES, sums[row][v]);
}

// out (rows, outer) = from + left (rows, inner) x weights; steps are those from row to row.
template <typename T>
void multiply(const T* left, size_t left_step, int rows, const Packed<T>& weights, const float* from, size_t from_step,
              float* out, size_t out_step) {
    const size_t panel_size = static_cast<size_t>(weights.inner) * PANEL;
    for (int column = 0; column < weights.outer; column += PANEL) {
        const T* panel = weights.weights.data() + column / PANEL * panel_size;
        for (int row = 0; row < rows; row += ROWS) {
            const T* l = left + row * left_step;
            const float* f = from + row * from_step + column;
            float* o = out + row * out_step + column;
            switch (rows - row) {
                case 1: kernel<1, T>(l, left_step, panel, weights.inner, f, from_step, o, out_step); break;
                case 2: kernel<2, T>(l, left_step, panel, weights.inner, f, from_step, o, out_step); break;
                case 3: kernel<3, T>(l, left_step, panel, weights.inner, f, from_step, o, out_step); break;
                case 4: kernel<4, T>(l, left_step, panel, weights.inner, f, from_step, o, out_step); break;
                case 5: kernel<5, T>(l, left_step, panel, weights.inner, f, from_step, o, out_step); break;
                default: kernel<ROWS, T>(l, left_step, panel, weights.inner, f, from_step, o, out_step); break;
            }
        }
    }
}

template <typename T>
void multiply(const T* left, size_t left_step, int rows, const Packed<T>& weights, float* out, size_t out_step) {
    multiply(left, left_step, rows, weights, weights.bias.data(), 0, out, out_step);
}

}  // namespace unembed
