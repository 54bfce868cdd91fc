// The likelihood of texts that are given.
//
// Texts of one embedding that begin alike are alike to the network as far as that. A lane goes on from where a text parts
// from the one before it: its cache holds all that they share. Where they part, one step tells of the next piece of each.
#pragma once

#include "stretches.h"

namespace unembed {

template <typename T>
class Scoring {
   public:
    Scoring(const Network<T>& network_, const Rows& rows_, const Stretches& stretches_)
        : network(network_), rows(rows_), stretches(stretches_),
          lanes_(network_, {stretches_.count, rows_.embeddings, stretches_.owners.data()}) {}

    bool allocate(int width) {
        width_ = width;
        return lanes_.allocate(width, width, rows.limit, 1) && takers_.allocate(width);
    }

    void run(std::atomic<int64_t>& counter) {
        int active = 0;
        while (active < width_) {
            takers_[active] = {active, 0, 0};
            if (!begin(active, counter)) break;
            active++;
        }
        while (active > 0) {
            lanes_.tile.step(lanes_.lanes.data(), active);
            for (int at = active - 1; at >= 0; at--) {
                if (!read(at) || begin(at, counter)) continue;
                active--;
                lanes_.lanes[at] = lanes_.lanes[active];
                takers_[at] = takers_[active];
            }
        }
    }

   private:
    struct Taker {
        int group;
        int64_t now, end;  // of its stretch: the text it scores, and behind the last
    };

    // The next text of which something is not known yet; false where there is none left.
    bool begin(int at, std::atomic<int64_t>& counter) {
        Taker& taker = takers_[at];
        for (;;) {
            int position = 0;
            if (taker.now + 1 < taker.end) {
                position = known(++taker.now);
            } else {
                const int64_t stretch = lanes_.take(taker.group, counter);
                if (stretch < 0) return false;
                taker.now = stretches.begins[stretch];
                taker.end = stretches.begins[stretch + 1];
            }
            const int64_t row = stretches.order[taker.now];
            if (position == rows.lengths[row]) continue;
            const int32_t previous = position ? static_cast<int32_t>(rows.ids[row * rows.limit + position - 1]) : -1;
            lanes_.lanes[at] = {&lanes_.readings[taker.group], position, previous, lanes_.cache(taker.group), 1, 0, nullptr};
            return true;
        }
    }

    // How many pieces of the text at this place have their likelihood, once it has what it shares with the one before.
    int known(int64_t place) {
        const int64_t row = stretches.order[place], before = stretches.order[place - 1];
        const int shared = stretches.shared[place];
        std::memcpy(rows.log_probs + row * rows.limit, rows.log_probs + before * rows.limit, shared * sizeof(float));
        return rows.lengths[before] > shared ? shared + 1 : shared;  // `read` told of the piece at which they part
    }

    // The likelihood of the next piece of a lane's text, and of those that part from it here; true when it was the last.
    bool read(int at) {
        Lane<T>& lane = lanes_.lanes[at];
        const Taker& taker = takers_[at];
        const float* logits = lanes_.tile.logits(at);
        const float whole = log_sum(logits, network.shape.vocabulary);
        int common = rows.limit;
        for (int64_t place = taker.now; place < taker.end; place++) {
            if (place > taker.now) common = std::min<int>(common, stretches.shared[place]);
            if (common < lane.position) break;
            if (place > taker.now && common > lane.position) continue;  // it has this piece too, and is told by `known`
            const int64_t to = stretches.order[place] * rows.limit + lane.position;
            rows.log_probs[to] = logits[rows.ids[to]] - whole;
        }
        const int64_t row = stretches.order[taker.now];
        lane.previous = static_cast<int32_t>(rows.ids[row * rows.limit + lane.position]);
        lane.position++;
        return lane.position >= rows.lengths[row];
    }

    const Network<T>& network;
    const Rows& rows;
    const Stretches& stretches;
    Lanes<T> lanes_;
    int width_ = 0;
    Buffer<Taker> takers_;
};

}  // namespace unembed
