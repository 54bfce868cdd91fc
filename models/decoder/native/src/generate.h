// Greedy and sampled texts. A lane whose text has ended takes the next row at once, so no step is spent on rows that are
// done, and none waits for the longest.
#pragma once

#include "lanes.h"

namespace unembed {

template <typename T>
class Generation {
   public:
    Generation(const Network<T>& network_, const Rows& rows_, const Options& options_)
        : network(network_), rows(rows_), options(options_), lanes_(network_, {rows_.count, rows_.embeddings, nullptr}) {}

    bool allocate(int width) {
        const size_t vocabulary = network.layout.vocabulary;
        return lanes_.allocate(width, width, rows.limit, 1) && row_of_.allocate(width) && group_of_.allocate(width) &&
               history_.allocate(static_cast<size_t>(width) * rows.limit) && allowed_.allocate(vocabulary) &&
               scratch_.allocate(vocabulary) && (width_ = width);
    }

    void run(std::atomic<int64_t>& counter) {
        int active = 0;
        while (active < width_ && begin(active, active, counter)) active++;
        while (active > 0) {
            lanes_.tile.step(lanes_.lanes.data(), active);
            for (int at = active - 1; at >= 0; at--) {
                if (!write(at) || begin(at, group_of_[at], counter)) continue;
                active--;  // the last lane, which is written already, takes its place
                lanes_.lanes[at] = lanes_.lanes[active];
                row_of_[at] = row_of_[active];
                group_of_[at] = group_of_[active];
            }
        }
    }

   private:
    bool begin(int at, int group, std::atomic<int64_t>& counter) {
        const int64_t row = lanes_.take(group, counter);
        if (row < 0) return false;
        row_of_[at] = row;
        group_of_[at] = group;
        lanes_.lanes[at] = {&lanes_.readings[group], 0, -1, lanes_.cache(group), 1, 0, nullptr};
        return true;
    }

    // The next piece of a lane; true when its text has ended.
    bool write(int at) {
        Lane<T>& lane = lanes_.lanes[at];
        const int64_t row = row_of_[at];
        const int vocabulary = network.shape.vocabulary, position = lane.position;
        const float* logits = lanes_.tile.logits(at);
        int32_t* history = history_.data() + static_cast<size_t>(group_of_[at]) * rows.limit;
        restrict_to(logits, vocabulary, history, position, options, allowed_.data());
        const int32_t piece =
            options.temperature > 0.0f
                ? draw(allowed_.data(), vocabulary, rows.keys[row], position, options, scratch_.data())
                : best_of(allowed_.data(), vocabulary);
        history[position] = piece;
        const int64_t place = row * rows.limit + position;
        rows.ids[place] = piece;
        rows.log_probs[place] = logits[piece] - log_sum(logits, vocabulary);
        lane.previous = piece;
        lane.position = position + 1;
        if (piece != END && lane.position < rows.limit) return false;
        rows.lengths[row] = lane.position;
        return true;
    }

    const Network<T>& network;
    const Rows& rows;
    const Options& options;
    Lanes<T> lanes_;
    int width_ = 0;
    Buffer<int64_t> row_of_;
    Buffer<int> group_of_;
    Buffer<int32_t> history_;
    Buffer<float> allowed_, scratch_;
};

}  // namespace unembed
