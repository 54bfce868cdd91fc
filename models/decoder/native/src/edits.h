// Edits of texts: words dropped, exchanged, put in and moved, so that the sketch comes nearer to an embedding.
#pragma once

#include <functional>

#include "sketch.h"

namespace unembed {

// M texts, each with what its sketch is to come near to.
struct Edits {
    const float* queries;     // (M, width): of length 1
    const int32_t* words;     // (M, limit); -1: unknown
    const int64_t* lengths;   // (M)
    int64_t count;            // M
    int32_t limit;
    int32_t shortlist;        // words that are tried
    int32_t exchanged, inserted;  // of them, at each place and in all
    float weight;             // of the mean log-prior of a text's words, beside the cosine
    int32_t most, moved;      // edits to give of each text, and of order alone
    int32_t longest;          // words that a text may come to have
    int32_t room;             // for an edited text: the longest there may be, one that is given among them
    // What is found, (M, most + moved), best first; a word is a place in the text that was edited, or -1 - word
    int32_t* edited;          // (M, most + moved, room)
    int32_t* edited_lengths;  // 0: there are no more
    float* keys;
};

constexpr float LACK = 0.7f;      // how much of what a text has already is taken from what words are looked for
constexpr int LONGEST_MOVED = 3;  // words that move together

class Editor {
   public:
    Editor(const Sketch& sketch_, const Edits& edits_) : sketch(sketch_), edits(edits_) {}

    bool allocate() {
        const size_t step = sketch.step, places = edits.limit + 2, tried = std::min(edits.shortlist, sketch.words);
        return wanted_.allocate(STAGED * step) && near_.allocate(STAGED * sketch.packed.outer) && values_.allocate(sketch.words) &&
               chosen_.allocate(tried + 1) && bases_.allocate(places * step) && products_.allocate(places * (tried + 1)) &&
               scores_.allocate(tried + 1) && tops_.allocate(tried + 1) && whole_.allocate(step) && trial_.allocate(step) &&
               query_.allocate(step) && found_.allocate(edits.most + 1) && orders_.allocate(edits.moved + 1);
    }

    void run(std::atomic<int64_t>& counter) {
        for (;;) {
            const int64_t begin = counter.fetch_add(STAGED);
            if (begin >= edits.count) return;
            stage(begin, std::min<int64_t>(begin + STAGED, edits.count));
        }
    }

   private:
    static constexpr int STAGED = 12;  // texts that pass the words together

    enum Kind { DROP, EXCHANGE, INSERT, MOVE };
    struct Edit {
        float key;
        Kind kind;
        int32_t at, to, span, word;
    };
    static bool better(const Edit& a, const Edit& b) { return a.key > b.key; }

    void stage(int64_t begin, int64_t end) {
        const int texts = static_cast<int>(end - begin);
        for (int at = 0; at < texts; at++) {
            begin_with(begin + at);
            // What the text lacks of the query: the words that point there are tried.
            float* wanted = wanted_.data() + static_cast<size_t>(at) * sketch.step;
            const float scale = LACK * dot(query_.data(), whole_.data()) / std::max(1e-12f, dot(whole_.data(), whole_.data()));
            for (int place = 0; place < sketch.step; place++) wanted[place] = query_[place] - scale * whole_[place];
        }
        multiply(wanted_.data(), sketch.step, texts, sketch.packed, near_.data(), sketch.packed.outer);
        for (int at = 0; at < texts; at++) {
            begin_with(begin + at);
            choose(near_.data() + static_cast<size_t>(at) * sketch.packed.outer);
            found_count_ = orders_count_ = 0;
            weigh(begin + at);
            const int64_t place = (begin + at) * (edits.most + edits.moved);
            give(begin + at, found_, found_count_, place, edits.most);
            give(begin + at, orders_, orders_count_, place + edits.most, edits.moved);
        }
    }

    void begin_with(int64_t text) {
        std::memset(query_.data(), 0, sketch.step * sizeof(float));
        std::memcpy(query_.data(), edits.queries + text * sketch.width, sketch.width * sizeof(float));
        sum_of(text);
    }

    // The shortlist: the words with the largest values, in the order of their numbers.
    void choose(const float* values) {
        const int words = sketch.words, wanted = std::min(words, edits.shortlist);
        chosen_count_ = 0;
        if (wanted == 0) return;
        std::memcpy(values_.data(), values, words * sizeof(float));
        std::nth_element(&values_[0], &values_[0] + (wanted - 1), &values_[0] + words, std::greater<float>());
        const float least = values_[wanted - 1];
        int ties = wanted;
        for (int word = 0; word < words; word++) ties -= values[word] > least;
        for (int word = 0; word < words; word++) {
            if (values[word] < least || (values[word] == least && ties-- <= 0)) continue;
            if (word != sketch.begin && word != sketch.end) chosen_[chosen_count_++] = word;
        }
    }

    int word(int64_t text, int64_t at) const {
        if (at < 0) return sketch.begin;
        if (at >= edits.lengths[text]) return sketch.end;
        return edits.words[text * edits.limit + at];
    }

    void add(float* to, int row, float sign) const {
        if (row < 0) return;
        const float* from = sketch.row(row);
        for (int at = 0; at < sketch.step; at += LANES) store(to + at, load(to + at) + all(sign) * load(from + at));
    }

    float dot(const float* a, const float* b) const {
        Vec total{};
        for (int at = 0; at < sketch.step; at += LANES) total += load(a + at) * load(b + at);
        return sum(total);
    }

    void sum_of(int64_t text) {
        const int n = static_cast<int>(edits.lengths[text]);
        std::memset(whole_.data(), 0, sketch.step * sizeof(float));
        prior_ = 0.0f;
        for (int at = -1; at <= n; at++) {
            add(whole_.data(), word(text, at), 1.0f);
            if (at < 0) continue;
            add(whole_.data(), sketch.pair(word(text, at - 1), word(text, at)), 1.0f);
            prior_ += sketch.prior(word(text, at - 1), word(text, at));
        }
    }

    void weigh(int64_t text) {
        const int n = static_cast<int>(edits.lengths[text]), step = sketch.step;
        // The text without each of its words and their pairs; then whole; then what it is to come near to.
        for (int at = 0; at <= n; at++) {
            float* base = bases_.data() + static_cast<size_t>(at) * step;
            std::memcpy(base, whole_.data(), step * sizeof(float));
            if (at == n) break;
            add(base, word(text, at), -1.0f);
            add(base, sketch.pair(word(text, at - 1), word(text, at)), -1.0f);
            add(base, sketch.pair(word(text, at), word(text, at + 1)), -1.0f);
        }
        std::memcpy(bases_.data() + static_cast<size_t>(n + 1) * step, query_.data(), step * sizeof(float));
        for (int at = 0; at < chosen_count_; at++)
            for (int base = 0; base <= n + 1; base++)
                products_[static_cast<size_t>(base) * chosen_count_ + at] = dot(bases_.data() + static_cast<size_t>(base) * step, sketch.row(chosen_[at]));
        for (int at = 0; at < n; at++) {
            const float* base = bases_.data() + static_cast<size_t>(at) * step;
            const int left = word(text, at - 1), own = word(text, at), right = word(text, at + 1);
            const float without = prior_ - sketch.prior(left, own) - sketch.prior(own, right);
            if (n > 1) {
                std::memcpy(trial_.data(), base, step * sizeof(float));
                add(trial_.data(), sketch.pair(left, right), 1.0f);
                offer({0, DROP, at, 0, 1, 0}, without + sketch.prior(left, right), n - 1);
            }
            best_words(at, n, edits.exchanged);
            for (int rank = 0; rank < top_count_; rank++) {
                const int other = chosen_[tops_[rank]];
                if (other == own) continue;
                std::memcpy(trial_.data(), base, step * sizeof(float));
                add(trial_.data(), other, 1.0f);
                add(trial_.data(), sketch.pair(left, other), 1.0f);
                add(trial_.data(), sketch.pair(other, right), 1.0f);
                offer({0, EXCHANGE, at, 0, 1, other}, without + sketch.prior(left, other) + sketch.prior(other, right), n);
            }
        }
        if (n < edits.longest) {
            best_words(n, n, edits.inserted);
            for (int rank = 0; rank < top_count_; rank++)
                for (int at = 0; at <= n; at++) insert(text, at, chosen_[tops_[rank]], n);
        }
        for (int span = 1; span <= LONGEST_MOVED; span++)
            for (int at = 0; at + span <= n; at++)
                for (int to = 0; to + span <= n; to++)  // backwards over a few words: they are moved forwards instead
                    if (to > at || to < at - LONGEST_MOVED) move(text, at, span, to, n);
    }

    void insert(int64_t text, int at, int other, int n) {
        const int left = word(text, at - 1), right = word(text, at);
        std::memcpy(trial_.data(), whole_.data(), sketch.step * sizeof(float));
        add(trial_.data(), other, 1.0f);
        add(trial_.data(), sketch.pair(left, right), -1.0f);
        add(trial_.data(), sketch.pair(left, other), 1.0f);
        add(trial_.data(), sketch.pair(other, right), 1.0f);
        offer({0, INSERT, at, 0, 1, other},
              prior_ - sketch.prior(left, right) + sketch.prior(left, other) + sketch.prior(other, right), n + 1);
    }

    // `span` words at `at` go to where `to` of the rest stand before them.
    void move(int64_t text, int at, int span, int to, int n) {
        const auto rest = [&](int place) { return word(text, place < at ? place : place + span); };
        const int left = word(text, at - 1), right = word(text, at + span), first = word(text, at), last = word(text, at + span - 1);
        const int before = rest(to - 1), after = to >= n - span ? sketch.end : rest(to);
        float prior = prior_ - sketch.prior(left, first) - sketch.prior(last, right) + sketch.prior(left, right);
        prior += sketch.prior(before, first) + sketch.prior(last, after) - sketch.prior(before, after);
        if (edits.moved == 0 || (orders_count_ == edits.moved && 1.0f + edits.weight * prior / (n + 1) <= orders_[0].key)) return;
        std::memcpy(trial_.data(), whole_.data(), sketch.step * sizeof(float));
        add(trial_.data(), sketch.pair(left, first), -1.0f);
        add(trial_.data(), sketch.pair(last, right), -1.0f);
        add(trial_.data(), sketch.pair(left, right), 1.0f);
        add(trial_.data(), sketch.pair(before, after), -1.0f);
        add(trial_.data(), sketch.pair(before, first), 1.0f);
        add(trial_.data(), sketch.pair(last, after), 1.0f);
        offer({0, MOVE, at, to, span, 0}, prior, n);
    }

    // The places in the shortlist of the words that bring base + word nearest, best first, their pairs apart.
    void best_words(int base, int n, int wanted) {
        const float* at_base = bases_.data() + static_cast<size_t>(base) * sketch.step;
        const float* products = products_.data() + static_cast<size_t>(base) * chosen_count_;
        const float* near = products_.data() + static_cast<size_t>(n + 1) * chosen_count_;
        const float along = dot(query_.data(), at_base), square = dot(at_base, at_base);
        for (int at = 0; at < chosen_count_; at++) {
            const float length = square + 2.0f * products[at] + sketch.squares[chosen_[at]];
            scores_[at] = (along + near[at]) / std::sqrt(std::max(length, 1e-12f));
            tops_[at] = at;
        }
        top_count_ = std::min(wanted, chosen_count_);
        std::partial_sort(&tops_[0], &tops_[0] + top_count_, &tops_[0] + chosen_count_, [&](int a, int b) {
            return scores_[a] != scores_[b] ? scores_[a] > scores_[b] : a < b; });
    }

    void offer(Edit edit, float prior, int words) {
        const float length = dot(trial_.data(), trial_.data());
        edit.key = dot(query_.data(), trial_.data()) / std::sqrt(std::max(length, 1e-12f)) + edits.weight * prior / (words + 1);
        Buffer<Edit>& heap = edit.kind == MOVE ? orders_ : found_;
        int& count = edit.kind == MOVE ? orders_count_ : found_count_;
        const int most = edit.kind == MOVE ? edits.moved : edits.most;
        if (most == 0 || (count == most && !(edit.key > heap[0].key))) return;
        if (count == most) std::pop_heap(&heap[0], &heap[0] + count--, better);
        heap[count++] = edit;
        std::push_heap(&heap[0], &heap[0] + count, better);
    }

    void give(int64_t text, Buffer<Edit>& heap, int count, int64_t place, int most) {
        std::sort(&heap[0], &heap[0] + count, better);
        for (int at = 0; at < most; at++, place++) {
            edits.edited_lengths[place] = at < count ? write(heap[at], static_cast<int>(edits.lengths[text]), edits.edited + place * edits.room) : 0;
            edits.keys[place] = at < count ? heap[at].key : 0.0f;
        }
    }

    static int write(const Edit& one, int n, int32_t* to) {
        int length = 0;
        if (one.kind == MOVE) {
            for (int from = 0; from <= n - one.span; from++) {
                if (from == one.to) for (int k = 0; k < one.span; k++) to[length++] = one.at + k;
                if (from < n - one.span) to[length++] = from < one.at ? from : from + one.span;
            }
            return length;
        }
        for (int from = 0; from <= n; from++) {
            if (from == one.at && one.kind != DROP) to[length++] = -1 - one.word;
            if (from < n && (from != one.at || one.kind == INSERT)) to[length++] = from;
        }
        return length;
    }

    const Sketch& sketch;
    const Edits& edits;
    float prior_ = 0.0f;
    int chosen_count_ = 0, top_count_ = 0, found_count_ = 0, orders_count_ = 0;
    Buffer<float> wanted_, near_, values_, bases_, products_, scores_, whole_, trial_, query_;
    Buffer<int32_t> chosen_, tops_;
    Buffer<Edit> found_, orders_;
};

}  // namespace unembed
