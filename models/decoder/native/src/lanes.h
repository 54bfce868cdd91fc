// The lanes of one thread, each with a reading and a cache of its own, and the rows that were read for them.
#pragma once

#include <atomic>
#include <utility>

#include "choose.h"
#include "reader.h"
#include "tile.h"

namespace unembed {

// A thread computes so many lanes at once: a multiple of ROWS, whose keys, values and units stay near the core.
constexpr int TILE = 18;

// N rows in the caller's memory.
struct Rows {
    const float* embeddings;  // (N, E), or (R, E) where rows have owners; nullptr: none has an embedding
    int64_t count;            // N
    int32_t limit;            // T
    const int64_t* keys;      // (N): what each row draws with
    int64_t* ids;             // (N, T)
    float* log_probs;         // (N, T)
    int64_t* lengths;         // (N)
    float* scores;            // (N) of beams
    const int64_t* owners;    // (N): which embedding each row has; nullptr: each its own
};

// What lanes take, one after the other, and the embedding of each.
struct Source {
    int64_t count;
    const float* embeddings;  // nullptr: none has an embedding
    const int64_t* owners;    // (count); nullptr: each has its own

    int64_t owner(int64_t at) const { return owners ? owners[at] : at; }
};

template <typename T>
class Lanes {
   public:
    Lanes(const Network<T>& network_, const Source& source)
        : network(network_), tile(network_), source_(source), reader_(network_) {}

    // `staged`: how many are taken, and read, together.
    bool allocate(int width, int staged, int positions, int beams) {
        const Layout& layout = network.layout;
        staged_at_once_ = staged;
        cache_step_ = static_cast<size_t>(positions) * beams * layout.entry;
        reading_step_ = layout.hidden + layout.units + layout.mixed;
        if (!lanes.allocate(width) || !tile.allocate(width, positions)) return false;
        const int groups = width / beams;
        if (!readings.allocate(groups) || !memory_.allocate(groups * reading_step_) || !cache_.allocate(groups * cache_step_))
            return false;
        for (int group = 0; group < groups; group++) {
            float* own = memory_.data() + group * reading_step_;
            readings[group] = {own, own + layout.hidden, own + layout.hidden + layout.units};
        }
        return reader_.allocate(staged) && embeddings_.allocate(staged) && read_.allocate(staged) && staged_.allocate(staged);
    }

    T* cache(int group) { return cache_.data() + group * cache_step_; }

    // The next of the source, whose embedding goes to this group's reading; -1 where there is none left.
    int64_t take(int group, std::atomic<int64_t>& counter) {
        if (next_ == end_ && !stage(counter)) return -1;
        const Reading& from = read_[staged_[next_ - begin_]];
        const Layout& layout = network.layout;
        std::memcpy(readings[group].context, from.context, layout.hidden * sizeof(float));
        std::memcpy(readings[group].gates, from.gates, layout.units * sizeof(float));
        std::memcpy(readings[group].mixed, from.mixed, layout.mixed * sizeof(float));
        return next_++;
    }

    const Network<T>& network;
    Tile<T> tile;
    Buffer<Lane<T>> lanes;
    Buffer<Reading> readings;  // of each group

   private:
    // Reads each embedding of the next few once.
    bool stage(std::atomic<int64_t>& counter) {
        begin_ = counter.fetch_add(staged_at_once_);
        if (begin_ >= source_.count) {
            begin_ = next_ = end_ = source_.count;
            return false;
        }
        next_ = begin_;
        end_ = std::min(begin_ + staged_at_once_, source_.count);
        int different = 0;
        for (int64_t at = begin_; at < end_; at++) {
            const int64_t owner = source_.owner(at);
            if (at == begin_ || owner != source_.owner(at - 1))
                embeddings_[different++] = source_.embeddings ? source_.embeddings + owner * network.shape.embedding : nullptr;
            staged_[at - begin_] = different - 1;
        }
        reader_.read(embeddings_.data(), different, read_.data());
        return true;
    }

    const Source source_;
    Reader<T> reader_;
    int staged_at_once_ = 0;
    size_t cache_step_ = 0, reading_step_ = 0;
    int64_t begin_ = 0, next_ = 0, end_ = 0;
    Buffer<float> memory_;
    Buffer<T> cache_;
    Buffer<const float*> embeddings_;
    Buffer<Reading> read_;
    Buffer<int> staged_;  // which reading is whose
};

}  // namespace unembed
