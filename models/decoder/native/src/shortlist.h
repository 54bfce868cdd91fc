// The words that are worth a try in a text: those whose rows point most to where it lacks something.
#pragma once

#include <functional>

#include "sketch.h"

namespace unembed {

class Shortlist {
   public:
    Buffer<int32_t> words;  // in the order of their numbers
    int count = 0;

    bool allocate(const Sketch& sketch, int most) {
        most_ = std::min(most, sketch.words);
        return words.allocate(most_ + 1) && largest_.allocate(sketch.words);
    }

    // The words with the largest values (words, padded), without the marks.
    void choose(const Sketch& sketch, const float* values) {
        count = 0;
        if (most_ == 0) return;
        const float least = nth_largest(values, sketch.words, most_);
        auto ties = std::count(&largest_[0], &largest_[0] + most_, least);  // of equal ones the first are taken
        each_from(values, sketch.words, least, [&](int word) {
            if (values[word] == least && ties-- <= 0) return;
            if (word != sketch.begin && word != sketch.end) words[count++] = word;
        });
    }

   private:
    // Into largest_ the n largest, the least of them last. Only those can be among them that are not below the n-th
    // largest of what is the greatest of some values each: few are left to be sorted.
    float nth_largest(const float* values, int size, int n) {
        const int group = std::max(1, size / (PARTS * n)) * LANES;
        int parts = 0;
        for (int begin = 0; begin + group <= size; begin += group, parts += LANES) {
            Vec most = load(values + begin);
            for (int at = LANES; at < group; at += LANES) most = larger(most, load(values + begin + at));
            store(largest_.data() + parts, most);
        }
        float bound = -INFINITY;
        if (parts >= n) {
            std::nth_element(&largest_[0], &largest_[0] + (n - 1), &largest_[0] + parts, std::greater<float>());
            bound = largest_[n - 1];
        }
        int left = 0;
        each_from(values, size, bound, [&](int at) { largest_[left++] = values[at]; });
        std::nth_element(&largest_[0], &largest_[0] + (n - 1), &largest_[0] + left, std::greater<float>());
        return largest_[n - 1];
    }

    // Calls `take` with each place whose value is not below the bound, in order.
    template <typename Take>
    static void each_from(const float* values, int size, float bound, Take take) {
        int begin = 0;
        for (; begin + LANES <= size; begin += LANES) {
            if (!any(load(values + begin) >= all(bound))) continue;
            for (int at = begin; at < begin + LANES; at++)
                if (values[at] >= bound) take(at);
        }
        for (; begin < size; begin++)
            if (values[begin] >= bound) take(begin);
    }

    static constexpr int PARTS = 4;  // groups for each value that is wanted: fewer leave more values, more take longer
    int most_ = 0;
    Buffer<float> largest_;
};

}  // namespace unembed
