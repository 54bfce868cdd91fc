// Given texts in the order in which they are scored: those of one embedding together, alphabetically by their pieces, cut
// into stretches that a lane takes whole.
#pragma once

#include <numeric>

#include "lanes.h"

namespace unembed {

struct Stretches {
    int64_t count = 0;
    Buffer<int64_t> order;   // (N): texts
    Buffer<int32_t> shared;  // (N): with how many pieces a text begins as the one before it in its stretch does
    Buffer<int64_t> begins;  // (count + 1): places in the order
    Buffer<int64_t> owners;  // (count): the embedding of each

    // Of at most `most` texts each, as equal as can be; false where there is no memory.
    bool arrange(const Rows& rows, int64_t most) {
        const int64_t texts = rows.count;
        if (!order.allocate(texts) || !shared.allocate(texts) || !begins.allocate(texts + 1) || !owners.allocate(texts))
            return false;
        std::iota(order.data(), order.data() + texts, int64_t{0});
        std::sort(order.data(), order.data() + texts, [&](int64_t a, int64_t b) {
            if (owner(rows, a) != owner(rows, b)) return owner(rows, a) < owner(rows, b);
            const int64_t *left = rows.ids + a * rows.limit, *right = rows.ids + b * rows.limit;
            return std::lexicographical_compare(left, left + rows.lengths[a], right, right + rows.lengths[b]);
        });
        for (int64_t begin = 0, end = 0; begin < texts; begin = end) {
            while (end < texts && owner(rows, order[end]) == owner(rows, order[begin])) end++;
            const int64_t parts = (end - begin + most - 1) / most;
            for (int64_t part = 0; part < parts; part++) {
                owners[count] = owner(rows, order[begin]);
                begins[count++] = begin + (end - begin) * part / parts;
            }
        }
        begins[count] = texts;
        for (int64_t stretch = 0; stretch < count; stretch++)
            for (int64_t at = begins[stretch] + 1; at < begins[stretch + 1]; at++)
                shared[at] = alike(rows, order[at - 1], order[at]);
        return true;
    }

   private:
    // Without embeddings all texts are of one: none.
    static int64_t owner(const Rows& rows, int64_t text) {
        return !rows.embeddings ? 0 : rows.owners ? rows.owners[text] : text;
    }

    static int32_t alike(const Rows& rows, int64_t a, int64_t b) {
        const int64_t *left = rows.ids + a * rows.limit, *right = rows.ids + b * rows.limit;
        const int64_t most = std::min(rows.lengths[a], rows.lengths[b]);
        return static_cast<int32_t>(std::mismatch(left, left + most, right).first - left);
    }
};

}  // namespace unembed
