// What embeddings are to the network. Rows are read some at a time: one alone would pass all weights for itself.
#pragma once

#include "network.h"

namespace unembed {

template <typename T>
class Reader {
   public:
    explicit Reader(const Network<T>& given) : network(given) {}

    bool allocate(int rows) {
        const Layout& layout = network.layout;
        gate_step_ = network.shape.gated ? network.gate.outer : 0;
        const size_t count = rows;
        return scaled_.allocate(count * network.bridge.inner) && context_.allocate(count * layout.hidden) &&
               stored_.allocate(count * layout.hidden) && answers_.allocate(count * gate_step_ + 1) &&
               gates_.allocate(count * layout.units) && mixed_.allocate(count * layout.mixed) && there_.allocate(count);
    }

    // Embeddings (E) of each row; zeros, and nullptr, read as "no embedding".
    void read(const float* const* embeddings, int rows, Reading* readings) {
        const Layout& layout = network.layout;
        const size_t inner = network.bridge.inner;
        for (int row = 0; row < rows; row++) {
            there_[row] = scale(embeddings[row], scaled_.data() + row * inner);
            readings[row] = {context_.data() + static_cast<size_t>(row) * layout.hidden,
                             gates_.data() + static_cast<size_t>(row) * layout.units,
                             mixed_.data() + static_cast<size_t>(row) * layout.mixed};
        }
        multiply(scaled_.data(), inner, rows, network.bridge, context_.data(), layout.hidden);
        if (gate_step_) multiply(scaled_.data(), inner, rows, network.gate, answers_.data(), gate_step_);
        for (int row = 0; row < rows; row++) finish(readings[row], row);
        multiply(stored_.data(), layout.hidden, rows, network.mixed, mixed_.data(), layout.mixed);
    }

   private:
    // The embedding at length sqrt(E), as the network takes it; false, and zeros, where there is none.
    bool scale(const float* embedding, T* to) const {
        const int width = network.shape.embedding;
        double squares = 0.0;  // in double, where no float overflows or vanishes
        if (embedding)
            for (int at = 0; at < width; at++) squares += static_cast<double>(embedding[at]) * embedding[at];
        const double factor = squares > 0.0 ? std::sqrt(width / squares) : 0.0;
        for (int at = 0; at < width; at++) set(to + at, factor > 0.0 ? static_cast<float>(embedding[at] * factor) : 0.0f);
        return factor > 0.0;
    }

    void finish(const Reading& reading, int row) {
        const Layout& layout = network.layout;
        T* stored = stored_.data() + static_cast<size_t>(row) * layout.hidden;
        const float* norm = network.bridge_norm.data();
        if (there_[row]) {
            normalise(reading.context, network.shape.hidden, layout.hidden, reading.context);
            for (int at = 0; at < layout.hidden; at += LANES)
                store(reading.context + at,
                      load(reading.context + at) * load(norm + at) + load(norm + layout.hidden + at));
        }
        for (int at = 0; at < layout.hidden; at += LANES) put(stored + at, load(reading.context + at));
        for (int at = 0; at < layout.units; at++) reading.gates[at] = 1.0f;
        const float* answers = answers_.data() + static_cast<size_t>(row) * gate_step_;
        for (int at = 0; at < network.shape.gated; at++) reading.gates[at] += answers[at];
    }

    static void set(float* to, float value) { *to = value; }
    static void set(bf16* to, float value) { *to = rounded(value); }

    const Network<T>& network;
    int gate_step_ = 0;
    Buffer<T> scaled_, stored_;
    Buffer<float> context_, answers_, gates_, mixed_;
    Buffer<char> there_;
};

}  // namespace unembed
