// The lanes of one thread, each with a reading and a cache of its own, and the rows that were read for them.
#pragma once

#include <atomic>
#include <utility>

#include "choose.h"
#include "reader.h"
#include "tile.h"

namespace unembed {

// A thread computes so many lanes at once: a multiple of ROWS, whose keys, values and units stay near the core.
constexpr int TILE = 48;

// N rows in the caller's memory.
struct Rows {
    const float* embeddings;  // (N, E); nullptr: none has an embedding
    int64_t count;            // N
    int32_t limit;            // T
    const int64_t* keys;      // (N): what each row draws with
    int64_t* ids;             // (N, T)
    float* log_probs;         // (N, T)
    int64_t* lengths;         // (N)
    float* scores;            // (N) of beams
};

template <typename T>
class Lanes {
   public:
    Lanes(const Network<T>& network_, const Rows& rows_) : network(network_), rows(rows_), tile(network_), reader(network_) {}

    // `staged`: how many rows are read together; 0 where there are no embeddings.
    bool allocate(int width, int staged_rows, int positions, int beams) {
        const Layout& layout = network.layout;
        staged_at_once = staged_rows;
        cache_step_ = static_cast<size_t>(positions) * beams * layout.entry;
        reading_step_ = layout.hidden + layout.units + layout.mixed;
        if (!lanes.allocate(width) || !tile.allocate(width, positions)) return false;
        const int groups = width / beams;
        if (!readings.allocate(groups) || !memory_.allocate(groups * reading_step_) || !cache_.allocate(groups * cache_step_))
            return false;
        for (int group = 0; group < groups; group++) {
            float* own = memory_.data() + group * reading_step_;
            readings[group] = {own, own + layout.hidden, own + layout.hidden + layout.units};
            for (int at = 0; at < layout.units; at++) readings[group].gates[at] = 1.0f;
        }
        return staged_rows == 0 || (reader.allocate(staged_rows) && staged_.allocate(staged_rows));
    }

    T* cache(int group) { return cache_.data() + group * cache_step_; }

    // The next row goes to this group's reading; -1 where there is none left.
    int64_t take(int group, std::atomic<int64_t>& counter) {
        if (next_ == end_ && !stage(counter)) return -1;
        const Reading& from = staged_[next_ - begin_];
        const Layout& layout = network.layout;
        std::memcpy(readings[group].context, from.context, layout.hidden * sizeof(float));
        std::memcpy(readings[group].gates, from.gates, layout.units * sizeof(float));
        std::memcpy(readings[group].mixed, from.mixed, layout.mixed * sizeof(float));
        return next_++;
    }

    const Network<T>& network;
    const Rows& rows;
    Tile<T> tile;
    Reader<T> reader;
    Buffer<Lane<T>> lanes;
    Buffer<Reading> readings;  // of each group
    int staged_at_once = 0;

   private:
    bool stage(std::atomic<int64_t>& counter) {
        begin_ = counter.fetch_add(staged_at_once);
        if (begin_ >= rows.count) {
            begin_ = next_ = end_ = rows.count;
            return false;
        }
        next_ = begin_;
        end_ = std::min(begin_ + staged_at_once, rows.count);
        const float* embeddings = rows.embeddings + begin_ * network.shape.embedding;
        reader.read(embeddings, static_cast<int>(end_ - begin_), staged_.data());
        return true;
    }

    size_t cache_step_ = 0, reading_step_ = 0;
    int64_t begin_ = 0, next_ = 0, end_ = 0;
    Buffer<float> memory_;
    Buffer<T> cache_;
    Buffer<Reading> staged_;
};

}  // namespace unembed
