// The likelihood of texts that are given.
//
// Without embeddings, texts that begin alike are alike to the network as far as that. In their alphabetical order, a
// lane goes on from where a text parts from the one before it: its cache holds all that they share.
#pragma once

#include "lanes.h"

namespace unembed {

template <typename T>
class Scoring {
   public:
    // `order` (N): the rows in alphabetical order, where none has an embedding; else nullptr.
    Scoring(const Network<T>& network_, const Rows& rows_, const int64_t* order)
        : network(network_), rows(rows_), order_(order), lanes_(network_, rows_) {}

    bool allocate(int width, int stretch) {
        stretch_ = stretch;
        width_ = width;
        return lanes_.allocate(width, order_ ? 0 : width, rows.limit, 1) && takers_.allocate(width);
    }

    void run(std::atomic<int64_t>& counter) {
        int active = 0;
        while (active < width_) {
            takers_[active] = {active, -1, 0, 0};
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
        int64_t row;        // the last it took; -1: none
        int64_t next, end;  // of its stretch of the order
    };

    bool begin(int at, std::atomic<int64_t>& counter) { return order_ ? go_on(at, counter) : start(at, counter); }

    bool start(int at, std::atomic<int64_t>& counter) {
        Taker& taker = takers_[at];
        do {
            taker.row = lanes_.take(taker.group, counter);
            if (taker.row < 0) return false;
        } while (rows.lengths[taker.row] == 0);
        place(at, 0);
        return true;
    }

    bool go_on(int at, std::atomic<int64_t>& counter) {
        Taker& taker = takers_[at];
        for (;;) {
            if (taker.next == taker.end) {
                taker.next = counter.fetch_add(stretch_);
                taker.end = std::min(taker.next + stretch_, rows.count);
                if (taker.next >= rows.count) {
                    taker.next = taker.end = rows.count;
                    return false;
                }
            }
            const int64_t before = taker.row, row = order_[taker.next++];
            const int64_t length = rows.lengths[row];
            int64_t shared = 0;
            if (before >= 0) {
                const int64_t most = std::min(length, rows.lengths[before]);
                const int64_t *left = rows.ids + before * rows.limit, *right = rows.ids + row * rows.limit;
                while (shared < most && left[shared] == right[shared]) shared++;
                std::memcpy(rows.log_probs + row * rows.limit, rows.log_probs + before * rows.limit, shared * sizeof(float));
            }
            if (length > 0) taker.row = row;
            if (shared == length) continue;  // all of it is known, or it has no pieces
            place(at, static_cast<int>(shared));
            return true;
        }
    }

    void place(int at, int position) {
        const Taker& taker = takers_[at];
        const int64_t* ids = rows.ids + taker.row * rows.limit;
        const int32_t previous = position ? static_cast<int32_t>(ids[position - 1]) : -1;
        lanes_.lanes[at] = {&lanes_.readings[taker.group], position, previous, lanes_.cache(taker.group), 1, 0, nullptr};
    }

    // The likelihood of a lane's next piece; true when it was the last.
    bool read(int at) {
        Lane<T>& lane = lanes_.lanes[at];
        const int64_t row = takers_[at].row, begin = row * rows.limit;
        const float* logits = lanes_.tile.logits(at);
        const int32_t piece = static_cast<int32_t>(rows.ids[begin + lane.position]);
        rows.log_probs[begin + lane.position] = logits[piece] - log_sum(logits, network.shape.vocabulary);
        lane.previous = piece;
        lane.position++;
        return lane.position >= rows.lengths[row];
    }

    const Network<T>& network;
    const Rows& rows;
    const int64_t* order_;
    Lanes<T> lanes_;
    int width_ = 0;
    int64_t stretch_ = 1;
    Buffer<Taker> takers_;
};

}  // namespace unembed
