// One step of up to `lanes` lanes.
#pragma once

#include "attention.h"

namespace unembed {

template <typename T>
class Tile {
   public:
    explicit Tile(const Network<T>& given) : network(given), layout(given.layout), shape(given.shape) {}

    bool allocate(int lanes, int positions) {
        score_step_ = (positions + 1 + LANES) / LANES * LANES;
        const size_t rows = lanes;
        return residual_.allocate(rows * layout.hidden) && normed_.allocate(rows * layout.hidden) &&
               units_.allocate(rows * layout.units) && gated_.allocate(rows * layout.units) &&
               logits_.allocate(rows * layout.vocabulary) && mixed_.allocate(layout.mixed) &&
               query_.allocate(layout.keys) && turned_.allocate(layout.keys) &&
               scores_.allocate(static_cast<size_t>(shape.heads) * score_step_);
    }

    // Logits (vocabulary) of each of `count` lanes: `logits(lane)`.
    void step(const Lane<T>* lanes, int count) {
        for (int at = 0; at < count; at++) {
            attend(lanes[at], residual_.data() + static_cast<size_t>(at) * layout.hidden);
            normalise(residual(at), shape.hidden, layout.hidden, normed(at));
        }
        multiply(normed_.data(), layout.hidden, count, network.up, units_.data(), layout.units);
        for (int at = 0; at < count; at++) activate(at, lanes[at].reading->gates);
        multiply(gated_.data(), layout.units, count, network.down, residual_.data(), layout.hidden, residual_.data(),
                 layout.hidden);
        for (int at = 0; at < count; at++) normalise(residual(at), shape.hidden, layout.hidden, normed(at));
        multiply(normed_.data(), layout.hidden, count, network.out, logits_.data(), layout.vocabulary);
    }

    const float* logits(int lane) const { return logits_.data() + static_cast<size_t>(lane) * layout.vocabulary; }

   private:
    float* residual(int at) { return residual_.data() + static_cast<size_t>(at) * layout.hidden; }
    T* normed(int at) { return normed_.data() + static_cast<size_t>(at) * layout.hidden; }

    // Keys and values of the lane's position into its cache; the residual after attention into x.
    void attend(const Lane<T>& lane, float* x) {
        const Reading& reading = *lane.reading;
        const bool begins = lane.previous < 0;
        const float* piece = begins ? nullptr : network.pieces.data() + static_cast<size_t>(lane.previous) * layout.hidden;
        for (int at = 0; at < layout.hidden; at += LANES) {
            const Vec context = load(reading.context + at);
            store(x + at, begins ? context : context + load(piece + at));
        }
        const Vec scale = all(spread(x, shape.hidden, layout.hidden).scale);
        const float* row = begins ? nullptr : network.mixed_pieces.data() + static_cast<size_t>(lane.previous) * layout.mixed;
        for (int at = 0; at < layout.mixed; at += LANES) {
            const Vec context = load(reading.mixed + at);
            const Vec both = begins ? context : context + load(row + at);
            store(mixed_.data() + at, both * scale + load(network.mixed_bias.data() + at));
        }
        T* own = lane.entry(layout, lane.position);
        const int head = shape.head, heads = shape.heads;
        for (int which = 0; which < heads; which++) {
            turn(mixed_.data() + which * head, lane.position, query_.data() + which * layout.head);
            turn(mixed_.data() + (heads + which) * head, lane.position, own + which * layout.head);
        }
        keep_values(own + layout.keys, mixed_.data() + 2 * heads * head, heads, shape.hidden, layout.hidden);
        for (int which = 0; which < heads; which++) {
            float* scores = scores_.data() + static_cast<size_t>(which) * score_step_;
            const T* query = query_.data() + which * layout.head;
            for (int at = 0; at <= lane.position; at++)
                scores[at] = score(query, lane.entry(layout, at) + which * layout.head, layout.head);
            softmax(scores, lane.position + 1);
        }
        gather(lane, layout, heads, scores_.data(), score_step_, x);
    }

    // Rotary positions: the halves of a head turn against each other.
    template <typename To>
    void turn(const float* from, int position, To* to) {
        const int half = shape.head / 2;
        const float* cos = network.cos.data() + static_cast<size_t>(position) * half;
        const float* sin = network.sin.data() + static_cast<size_t>(position) * half;
        float* turned = turned_.data();
        for (int at = 0; at < half; at++) {
            turned[at] = from[at] * cos[at] - from[half + at] * sin[at];
            turned[half + at] = from[half + at] * cos[at] + from[at] * sin[at];
        }
        for (int at = 0; at < layout.head; at += LANES) put(to + at, load(turned + at));
    }

    void activate(int lane, const float* gates) {
        float* units = units_.data() + static_cast<size_t>(lane) * layout.units;
        T* to = gated_.data() + static_cast<size_t>(lane) * layout.units;
        for (int at = 0; at < layout.units; at += LANES) put(to + at, gelu(load(units + at)) * load(gates + at));
    }

    const Network<T>& network;
    const Layout& layout;
    const Shape& shape;
    int score_step_ = 0;
    Buffer<float> residual_, units_, logits_, mixed_, turned_, scores_;
    Buffer<T> normed_, gated_, query_;
};

}  // namespace unembed
