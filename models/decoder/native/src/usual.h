// The most usual words, and which of them are the likeliest between two others.
#pragma once

#include <algorithm>

#include "sketch.h"

namespace unembed {

class Usual {
   public:
    const int32_t* words = nullptr;  // the most usual first
    int count = 0;

    // The neighbours that the sketch knows of each word, as far as they are usual.
    bool find(const Sketch& sketch_, const int32_t* words_, int count_) {
        sketch = &sketch_, words = words_, count = count_;
        if (!places_.allocate(sketch->words) || !likely_.allocate(count + 1) || !seen_.allocate(count + 1) ||
            !after_.allocate(sketch->words, sketch->known) || !before_.allocate(sketch->words, sketch->known))
            return false;
        std::fill(&places_[0], &places_[0] + sketch->words, -1);
        std::fill(&seen_[0], &seen_[0] + count, -1);
        for (int place = 0; place < count; place++) places_[words[place]] = place;
        sketch->each_pair([&](int first, int second, float) { count_pair(first, second); });
        after_.begin(sketch->words), before_.begin(sketch->words);
        sketch->each_pair([&](int first, int second, float prior) { put_pair(first, second, prior); });
        return true;
    }

    bool has(int word) const { return word >= 0 && places_[word] >= 0; }

    // Calls `take` with the `most` words that are the likeliest between two others, in no order. Few words are known as
    // neighbours of either; of the others, the most usual are the likeliest, and these come first.
    template <typename Take>
    void between(int left, int right, int most, Take take) {
        const float next = sketch->alone(right);
        int found = 0;
        const auto add = [&](int place) -> Likely& {
            if (seen_[place] < 0) {
                seen_[place] = found;
                likely_[found++] = {sketch->priors[words[place]] + sketch->backoff, next, place};
            }
            return likely_[seen_[place]];
        };
        if (left >= 0) after_.each(left, [&](int place, float prior) { add(place).here = prior; });
        if (right >= 0) before_.each(right, [&](int place, float prior) { add(place).next = prior; });
        for (int place = 0, others = 0; place < count && others < most; place++) {
            if (seen_[place] >= 0) continue;
            add(place);
            others++;
        }
        for (int at = 0; at < found; at++) {
            likely_[at].here += likely_[at].next;
            seen_[likely_[at].place] = -1;
        }
        if (most < found) std::nth_element(&likely_[0], &likely_[0] + most, &likely_[0] + found);
        for (int rank = 0; rank < std::min(most, found); rank++) take(words[likely_[rank].place]);
    }

   private:
    struct Likely {
        float here, next;  // log p of the word, then of both; and of the one that follows
        int place;
        bool operator<(const Likely& other) const { return here > other.here || (here == other.here && place < other.place); }
    };

    // Of each word some places of usual words, with a prior.
    class Neighbours {
       public:
        bool allocate(int words, int pairs) {
            if (!ends_.allocate(words + 1) || !places_.allocate(pairs + 1) || !priors_.allocate(pairs + 1)) return false;
            std::fill(&ends_[0], &ends_[0] + words + 1, 0);
            return true;
        }
        void count(int word) { ends_[word + 1]++; }
        void begin(int words) {  // from here on ends_[word + 1] is where its next one goes
            int total = 0;
            for (int word = 0; word < words; word++) {
                const int own = ends_[word + 1];
                ends_[word + 1] = total;
                total += own;
            }
        }
        void put(int word, int place, float prior) {
            places_[ends_[word + 1]] = place;
            priors_[ends_[word + 1]++] = prior;
        }
        template <typename Take>
        void each(int word, Take take) const {
            for (int at = ends_[word]; at < ends_[word + 1]; at++) take(places_[at], priors_[at]);
        }

       private:
        Buffer<int32_t> ends_, places_;
        Buffer<float> priors_;
    };

    void count_pair(int first, int second) {
        if (has(second)) after_.count(first);
        if (has(first)) before_.count(second);
    }

    void put_pair(int first, int second, float prior) {
        if (has(second)) after_.put(first, places_[second], prior);
        if (has(first)) before_.put(second, places_[first], prior);
    }

    const Sketch* sketch = nullptr;
    Buffer<int32_t> places_;  // of each word among the usual ones; -1: none
    Buffer<int32_t> seen_;    // of each usual word its place in likely_; -1 between two calls
    Buffer<Likely> likely_;
    Neighbours after_, before_;
};

}  // namespace unembed
