// Beam search: the `beams` likeliest texts of each row, by the rules of beam.py.
//
// The beams of a row stand at one position. Each writes its keys and values once; a beam that descends from another
// attends to that one's entries, by a line of ancestors, so nothing is copied but the line.
#pragma once

#include "lanes.h"

namespace unembed {

struct Branch {
    float total;  // log p of all pieces, after what the options forbid
    int32_t parent, piece;
};

struct Better {
    bool operator()(const Branch& a, const Branch& b) const {
        if (a.total != b.total) return a.total > b.total;
        return a.parent != b.parent ? a.parent < b.parent : a.piece < b.piece;
    }
};

// One row's beams and what has ended of them.
struct Beam {
    int32_t* pieces;    // (T)
    float* log_probs;   // (T)
    uint8_t* line;      // (T): at each position, the beam it descends from
    float total;
};

template <typename T>
class BeamSearch {
   public:
    BeamSearch(const Network<T>& network_, const Rows& rows_, const Options& options_, int beams, float length_penalty)
        : network(network_), rows(rows_), options(options_), beams_(beams), length_penalty_(length_penalty),
          lanes_(network_, {rows_.count, rows_.embeddings, nullptr}) {}

    bool allocate(int groups, int staged) {
        groups_ = groups;
        const size_t all_beams = static_cast<size_t>(groups) * beams_, limit = rows.limit;
        if (!lanes_.allocate(groups * beams_, staged, rows.limit, beams_) || !row_of_.allocate(groups) ||
            !live_.allocate(groups) || !position_of_.allocate(groups) || !beams_now_.allocate(all_beams) ||
            !beams_next_.allocate(all_beams) || !pieces_.allocate(2 * all_beams * limit) ||
            !log_probs_.allocate(2 * all_beams * limit) || !lines_.allocate(2 * all_beams * limit) ||
            !scores_.allocate(all_beams) || !lane_group_.allocate(all_beams) ||
            !allowed_.allocate(network.layout.vocabulary) || !heap_.allocate(2 * beams_ + 1) ||
            !sums_.allocate(beams_))
            return false;
        for (int piece = network.shape.vocabulary; piece < network.layout.vocabulary; piece++) allowed_[piece] = -INFINITY;
        for (size_t beam = 0; beam < all_beams; beam++) {
            beams_now_[beam] = {pieces_.data() + beam * limit, log_probs_.data() + beam * limit, lines_.data() + beam * limit, 0.0f};
            const size_t other = all_beams + beam;
            beams_next_[beam] = {pieces_.data() + other * limit, log_probs_.data() + other * limit, lines_.data() + other * limit, 0.0f};
        }
        return true;
    }

    void run(std::atomic<int64_t>& counter) {
        int open = 0;
        for (int group = 0; group < groups_; group++) open += begin(group, counter);
        while (open > 0) {
            const int count = line_up();
            lanes_.tile.step(lanes_.lanes.data(), count);
            for (int at = 0; at < count;) {
                const int group = lane_group_[at];
                const int first = at;
                while (at < count && lane_group_[at] == group) at++;
                if (!branch(group, first, at - first)) open -= !begin(group, counter);
            }
        }
    }

   private:
    bool begin(int group, std::atomic<int64_t>& counter) {
        const int64_t row = lanes_.take(group, counter);
        row_of_[group] = row;
        live_[group] = row >= 0;  // one beam: the others would be its copies
        position_of_[group] = 0;
        for (int beam = 0; beam < beams_; beam++) scores_[group * beams_ + beam] = -INFINITY;
        beams_now_[group * beams_].total = 0.0f;
        return row >= 0;
    }

    // A lane for each live beam of each row, row after row.
    int line_up() {
        int count = 0;
        for (int group = 0; group < groups_; group++) {
            for (int at = 0; at < live_[group]; at++, count++) {
                const Beam& beam = beams_now_[group * beams_ + at];
                const int position = position_of_[group];
                lanes_.lanes[count] = {&lanes_.readings[group], position, position ? beam.pieces[position - 1] : -1,
                                       lanes_.cache(group), beams_, at, beam.line};
                lane_group_[count] = group;
            }
        }
        return count;
    }

    // One more piece for each of a row's beams; false when the row is done.
    bool branch(int group, int first, int count) {
        const int64_t row = row_of_[group];
        const int position = position_of_[group]++;
        const int found = best_branches(group, first, count, position);
        const float factor = std::pow(static_cast<float>(position + 1), length_penalty_);
        for (int rank = 0; rank < std::min(found, beams_); rank++)  // an end further down is a worse way to go on
            if (heap_[rank].piece == END) offer(row, group, rank, first, position, heap_[rank].total / factor);
        live_[group] = 0;
        if (!is_open(group)) return false;
        for (int rank = 0; rank < found && live_[group] < beams_; rank++)
            if (heap_[rank].piece != END) go_on(group, rank, first, position);
        for (int beam = 0; beam < live_[group]; beam++) std::swap(beams_now_[group * beams_ + beam], beams_next_[group * beams_ + beam]);
        if (position + 1 == rows.limit) {
            for (int beam = 0; beam < live_[group] && is_open(group); beam++) cut_off(row, group, beam, factor);
            return false;
        }
        return live_[group] > 0;
    }

    // The best 2 x beams ways to go on, best first, into heap_; how many there are.
    int best_branches(int group, int first, int count, int position) {
        const int vocabulary = network.shape.vocabulary;
        int found = 0;
        for (int at = 0; at < count; at++) {
            const Beam& beam = beams_now_[group * beams_ + at];
            const float* logits = lanes_.tile.logits(first + at);
            restrict_to(logits, vocabulary, beam.pieces, position, options, allowed_.data());
            sums_[at] = log_sum(logits, vocabulary);
            found = branches_of(beam.total, at, found);
        }
        std::sort_heap(&heap_[0], &heap_[0] + found, Better());
        return found;
    }

    // Those of one beam, from allowed_, among the best so far; the worst of these lies on top of the heap.
    int branches_of(float total, int parent, int found) {
        const int most = 2 * beams_;
        const float whole = log_sum(allowed_.data(), network.shape.vocabulary);
        for (int piece = 0; piece < network.layout.vocabulary; piece += LANES) {
            const Vec totals = all(total) + (load(allowed_.data() + piece) - all(whole));
            if (!any(totals > all(found == most ? heap_[0].total : -INFINITY))) continue;
            for (int lane = 0; lane < LANES; lane++) {
                const Branch one{totals[lane], parent, piece + lane};
                if (!(one.total > (found == most ? heap_[0].total : -INFINITY))) continue;
                if (found == most) std::pop_heap(&heap_[0], &heap_[0] + found--, Better());
                heap_[found++] = one;
                std::push_heap(&heap_[0], &heap_[0] + found, Better());
            }
        }
        return found;
    }

    bool is_open(int group) const {
        for (int place = 0; place < beams_; place++)
            if (scores_[group * beams_ + place] == -INFINITY) return true;
        return false;
    }

    // A text takes the place of the worst there is, if it is better.
    int64_t room_for(int64_t row, int group, float score) {
        int worst = 0;
        for (int place = 1; place < beams_; place++)
            if (scores_[group * beams_ + place] < scores_[group * beams_ + worst]) worst = place;
        if (!(score > scores_[group * beams_ + worst])) return -1;
        scores_[group * beams_ + worst] = score;
        rows.scores[row * beams_ + worst] = score;
        return row * beams_ + worst;
    }

    void write(int64_t place, const Beam& beam, int length) {
        int64_t* ids = rows.ids + place * rows.limit;
        float* log_probs = rows.log_probs + place * rows.limit;
        for (int at = 0; at < length; at++) ids[at] = beam.pieces[at], log_probs[at] = beam.log_probs[at];
        for (int at = length; at < rows.limit; at++) ids[at] = PAD, log_probs[at] = 0.0f;
        rows.lengths[place] = length;
    }

    float picked(const Branch& one, int first) const {
        return lanes_.tile.logits(first + one.parent)[one.piece] - sums_[one.parent];
    }

    void offer(int64_t row, int group, int rank, int first, int position, float score) {
        const int64_t place = room_for(row, group, score);
        if (place < 0) return;
        const Branch& one = heap_[rank];
        Beam& parent = beams_now_[group * beams_ + one.parent];
        parent.pieces[position] = one.piece;  // read by nobody else: children copy only what came before
        parent.log_probs[position] = picked(one, first);
        write(place, parent, position + 1);
    }

    void go_on(int group, int rank, int first, int position) {
        const Branch& one = heap_[rank];
        const Beam& parent = beams_now_[group * beams_ + one.parent];
        Beam& child = beams_next_[group * beams_ + live_[group]++];
        std::memcpy(child.pieces, parent.pieces, position * sizeof(int32_t));
        std::memcpy(child.log_probs, parent.log_probs, position * sizeof(float));
        std::memcpy(child.line, parent.line, position);
        child.pieces[position] = one.piece;
        child.log_probs[position] = picked(one, first);
        child.line[position] = static_cast<uint8_t>(one.parent);
        child.total = one.total;
    }

    void cut_off(int64_t row, int group, int beam, float factor) {
        const Beam& last = beams_now_[group * beams_ + beam];
        const int64_t place = room_for(row, group, last.total / factor);
        if (place >= 0) write(place, last, rows.limit);
    }

    const Network<T>& network;
    const Rows& rows;
    const Options& options;
    const int beams_;
    const float length_penalty_;
    Lanes<T> lanes_;
    int groups_ = 0;
    Buffer<int64_t> row_of_;
    Buffer<int> live_, position_of_, lane_group_;
    Buffer<Beam> beams_now_, beams_next_;
    Buffer<int32_t> pieces_;
    Buffer<float> log_probs_, scores_, allowed_, sums_;
    Buffer<uint8_t> lines_;
    Buffer<Branch> heap_;
};

}  // namespace unembed
