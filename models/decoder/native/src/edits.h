// Edits of texts: words dropped, exchanged, put in and moved, so that the sketch comes nearer to an embedding.
#pragma once

#include "shortlist.h"
#include "usual.h"

namespace unembed {

// M texts, each with what its sketch is to come near to.
struct Edits {
    const float* queries;     // (M, width): of length 1
    const int32_t* words;     // (M, limit); -1: unknown
    const int64_t* lengths;   // (M)
    int64_t count;            // M
    int32_t limit;
    int32_t shortlist;        // words that are tried
    int32_t apart;            // 0, or 1: as many others are tried to be put in
    int32_t exchanged, inserted;  // of them, at each place and in all
    float weight;             // of the mean log-prior of a text's words, beside the cosine
    const int32_t* usual;     // (usual_count): words that may be tried, whatever they mean; the most usual first
    int32_t usual_count, usual_tried;  // of them, in each place, the likeliest there
    float usual_weight;       // as weight, of their edits
    int32_t most, moved, smoothed;  // edits to give of each text; of order alone; of usual words
    int32_t longest;          // words that a text may come to have
    int32_t room;             // for an edited text: the longest there may be, one that is given among them
    // What is found, (M, most + moved + smoothed), best first; a word is a place in the text that was edited, or -1 - word
    int32_t* edited;          // (M, most + moved + smoothed, room)
    int32_t* edited_lengths;  // 0: there are no more
    float* keys;
};

constexpr float LACK = 0.7f;      // how much of what a text has already is taken from what words are looked for
constexpr float LONG = 0.3f;      // of a word's square, what it counts against the word
constexpr int LONGEST_MOVED = 3;  // words that move together
constexpr int TEXTS = 48;         // that pass the words together, at most: these are read from afar

class Editor {
   public:
    Editor(const Sketch& sketch_, const Edits& edits_) : sketch(sketch_), edits(edits_) {}

    // `staged`: how many texts pass the words together.
    bool allocate(int staged) {
        staged_ = staged;
        const size_t step = sketch.step, places = edits.limit + 2, tried = padded(std::min(edits.shortlist, sketch.words));
        return wanted_.allocate(staged * step) && near_.allocate(static_cast<size_t>(staged) * sketch.glanced.outer) &&
               chosen_.allocate(sketch, edits.shortlist) && squares_.allocate(tried) && pairs_.allocate(places * places) &&
               bases_.allocate((places + BASES) * step) && products_.allocate((places + BASES) * tried) &&
               scores_.allocate(tried) && tops_.allocate(std::max(edits.exchanged, edits.inserted) + 1) && whole_.allocate(step) && query_.allocate(step) &&
               groups_[WORDS].allocate(edits.most + 1) && groups_[ORDER].allocate(edits.moved + 1) &&
               groups_[USUAL].allocate(edits.smoothed + 1) &&
               (edits.smoothed == 0 || usual_.find(sketch, edits.usual, edits.usual_count));
    }

    void run(std::atomic<int64_t>& counter) {
        for (;;) {
            const int64_t begin = counter.fetch_add(staged_);
            if (begin >= edits.count) return;
            stage(begin, std::min<int64_t>(begin + staged_, edits.count));
        }
    }

   private:
    static constexpr int BASES = 4;  // sums that one word is multiplied with together

    enum Kind { DROP, EXCHANGE, INSERT, MOVE };
    enum Group { WORDS, ORDER, USUAL, GROUPS };
    struct Edit {
        float key;
        Group group;
        Kind kind;
        int32_t at, to, span, word;
    };
    struct Better {
        bool operator()(const Edit& a, const Edit& b) const { return a.key > b.key; }
    };
    struct Part {
        int row;  // -1: none
        float sign;
    };

    void stage(int64_t begin, int64_t end) {
        const int texts = static_cast<int>(end - begin);
        for (int at = 0; at < texts; at++) {
            begin_with(begin + at);
            // What the text lacks of the query: the words that point there are tried.
            float* wanted = wanted_.data() + static_cast<size_t>(at) * sketch.step;
            const float scale = LACK * share();
            for (int place = 0; place < sketch.step; place++) wanted[place] = query_[place] - scale * whole_[place];
        }
        multiply(wanted_.data(), sketch.step, texts, sketch.glanced, near_.data(), sketch.glanced.outer);
        for (int at = 0; at < texts; at++) {
            begin_with(begin + at);
            for (int& held : held_) held = 0;
            weigh(near_.data() + static_cast<size_t>(at) * sketch.glanced.outer);
            int64_t place = (begin + at) * (edits.most + edits.moved + edits.smoothed);
            for (int group = 0; group < GROUPS; place += most_of(group), group++)
                give(groups_[group], held_[group], place, most_of(group));
        }
    }

    // The text's sum, and how likely its words are beside one another.
    void begin_with(int64_t text) {
        words_ = edits.words + text * edits.limit;
        n_ = static_cast<int>(edits.lengths[text]);
        std::memset(query_.data(), 0, sketch.step * sizeof(float));
        std::memcpy(query_.data(), edits.queries + text * sketch.width, sketch.width * sizeof(float));
        std::memset(whole_.data(), 0, sketch.step * sizeof(float));
        prior_ = 0.0f;
        for (int at = -1; at <= n_; at++) {
            add(whole_.data(), {word(at), 1.0f});
            if (at < 0) continue;
            const Sketch::Pair both = sketch.pair(word(at - 1), word(at));
            add(whole_.data(), {both.row, 1.0f});
            prior_ += both.prior;
        }
    }

    // How much of the text its part along the query is.
    float share() const { return dot(query_.data(), whole_.data()) / std::max(1e-12f, dot(whole_.data(), whole_.data())); }

    int most_of(int group) const { return group == WORDS ? edits.most : group == ORDER ? edits.moved : edits.smoothed; }

    int word(int at) const { return at < 0 ? sketch.begin : at >= n_ ? sketch.end : words_[at]; }

    // Of two words of the text, as if they were neighbours.
    const Sketch::Pair& pair(int left, int right) const { return pairs_[static_cast<size_t>(left + 1) * (n_ + 2) + right + 1]; }

    void add(float* to, Part part) const {
        if (part.row < 0) return;
        const float* from = sketch.row(part.row);
        for (int at = 0; at < sketch.step; at += LANES) store(to + at, load(to + at) + all(part.sign) * load(from + at));
    }

    float dot(const float* a, const float* b) const {
        Vec total{};
        for (int at = 0; at < sketch.step; at += LANES) total += load(a + at) * load(b + at);
        return sum(total);
    }

    // `near`: of each word, how much it points to what the text lacks.
    void weigh(float* near) {
        for (int left = -1; left <= n_; left++)
            for (int right = -1; right <= n_; right++)
                pairs_[static_cast<size_t>(left + 1) * (n_ + 2) + right + 1] = sketch.pair(word(left), word(right));
        place_bases();
        for (int at = 0; at < n_; at++) drop(at, WORDS);
        if (edits.apart) {
            chosen_.choose(sketch, near);
            multiply_words(n_);
            put_in();
        }
        // A long word that points there may turn the text further than it is to go.
        const float against = LONG * share();
        for (int word = 0; word < sketch.words; word++) near[word] -= against * sketch.squares[word];
        chosen_.choose(sketch, near);
        multiply_words(0);
        if (!edits.apart) put_in();
        for (int at = 0; at < n_; at++) {
            best_words(at, edits.exchanged);
            for (int rank = 0; rank < top_count_; rank++) exchange(at, chosen_.words[tops_[rank]], WORDS);
        }
        if (edits.smoothed > 0) smooth();
        for (int span = 1; span <= LONGEST_MOVED && edits.moved > 0; span++)
            for (int at = 0; at + span <= n_; at++)
                for (int to = 0; to + span <= n_; to++)  // backwards over a few words: they are moved forwards instead
                    if (to > at || to < at - LONGEST_MOVED) move(at, span, to);
    }

    // The best words of the shortlist, in every place.
    void put_in() {
        if (n_ >= edits.longest) return;
        best_words(n_, edits.inserted);
        for (int rank = 0; rank < top_count_; rank++)
            for (int at = 0; at <= n_; at++) insert(at, chosen_.words[tops_[rank]], WORDS);
    }

    float* base(int at) { return bases_.data() + static_cast<size_t>(at) * sketch.step; }
    float* products(int base) { return products_.data() + static_cast<size_t>(base) * padded(chosen_.count); }

    // The text without each of its words and their pairs; then whole; then what it is to come near to.
    void place_bases() {
        for (int at = 0; at <= n_; at++) {
            std::memcpy(base(at), whole_.data(), sketch.step * sizeof(float));
            if (at == n_) break;
            add(base(at), {word(at), -1.0f});
            add(base(at), {pair(at - 1, at).row, -1.0f});
            add(base(at), {pair(at, at + 1).row, -1.0f});
        }
        std::memcpy(base(n_ + 1), query_.data(), sketch.step * sizeof(float));
    }

    // The products of each base, from `begin` on, and each word of the shortlist.
    void multiply_words(int begin) {
        for (int at = 0; at < chosen_.count; at++) {
            const float* row = sketch.row(chosen_.words[at]);
            if (at + 1 < chosen_.count) fetch(chosen_.words[at + 1]);
            squares_[at] = sketch.squares[chosen_.words[at]];
            for (int first = begin; first < n_ + 2; first += BASES) {
                Vec totals[BASES] = {};
                for (int k = 0; k < sketch.step; k += LANES) {
                    const Vec numbers = load(row + k);
                    for (int which = 0; which < BASES; which++) totals[which] += load(base(first + which) + k) * numbers;
                }
                for (int which = 0; which < BASES; which++) products(first + which)[at] = sum(totals[which]);
            }
        }
    }

    void fetch(int row) const {
        for (int at = 0; at < sketch.step; at += 16) __builtin_prefetch(sketch.row(row) + at);
    }

    // Usual words are put in, exchanged for one another, and dropped: what they say is little, so that the sketch
    // hardly sees them, but a sentence that lacks one is none.
    void smooth() {
        for (int at = 0; at < n_; at++) {
            if (!usual_.has(word(at))) continue;
            drop(at, USUAL);
            usual_.between(word(at - 1), word(at + 1), edits.usual_tried, [&](int other) { exchange(at, other, USUAL); });
        }
        for (int at = 0; at <= n_ && n_ < edits.longest; at++)
            usual_.between(word(at - 1), word(at), edits.usual_tried, [&](int other) {
                if (other != word(at - 1) && other != word(at)) insert(at, other, USUAL);
            });
    }

    float without(int at) const { return prior_ - pair(at - 1, at).prior - pair(at, at + 1).prior; }

    void drop(int at, Group group) {
        if (n_ == 1) return;
        const Sketch::Pair& joined = pair(at - 1, at + 1);
        offer({0, group, DROP, at, 0, 1, 0}, base(at), {{joined.row, 1}}, without(at) + joined.prior, n_ - 1);
    }

    void exchange(int at, int other, Group group) {
        if (other == word(at)) return;
        const Sketch::Pair before = sketch.pair(word(at - 1), other), after = sketch.pair(other, word(at + 1));
        offer({0, group, EXCHANGE, at, 0, 1, other}, base(at), {{other, 1}, {before.row, 1}, {after.row, 1}},
              without(at) + before.prior + after.prior, n_);
    }

    void insert(int at, int other, Group group) {
        const Sketch::Pair &apart = pair(at - 1, at);
        const Sketch::Pair before = sketch.pair(word(at - 1), other), after = sketch.pair(other, word(at));
        offer({0, group, INSERT, at, 0, 1, other}, whole_.data(), {{other, 1}, {apart.row, -1}, {before.row, 1}, {after.row, 1}},
              prior_ - apart.prior + before.prior + after.prior, n_ + 1);
    }

    // `span` words at `at` go to where `to` of the rest stand before them.
    void move(int at, int span, int to) {
        const auto rest = [&](int place) { return place < at ? place : place + span; };
        const int before = rest(to - 1), after = rest(to), last = at + span - 1;
        const Sketch::Pair &left = pair(at - 1, at), &right = pair(last, at + span), &closed = pair(at - 1, at + span);
        const Sketch::Pair &opened = pair(before, after), &first = pair(before, at), &second = pair(last, after);
        float prior = prior_ - left.prior - right.prior + closed.prior;
        prior += first.prior + second.prior - opened.prior;
        if (held_[ORDER] == edits.moved && 1.0f + edits.weight * prior / (n_ + 1) <= groups_[ORDER][0].key) return;
        offer({0, ORDER, MOVE, at, to, span, 0}, whole_.data(),
              {{left.row, -1}, {right.row, -1}, {closed.row, 1}, {opened.row, -1}, {first.row, 1}, {second.row, 1}}, prior, n_);
    }

    // The places in the shortlist of the words that bring base + word nearest, best first, their pairs apart.
    void best_words(int which, int wanted) {
        const float *product = products(which), *near = products(n_ + 1);
        const Vec along = all(dot(query_.data(), base(which))), square = all(dot(base(which), base(which)));
        for (int at = 0; at < chosen_.count; at += LANES) {
            const Vec toward = along + load(near + at);
            const Vec length = larger(square + all(2.0f) * load(product + at) + load(squares_.data() + at), all(1e-12f));
            store(scores_.data() + at, toward * larger(toward, -toward) / length);  // ordered as the cosines are
        }
        top_count_ = 0;
        for (int at = 0; at < chosen_.count && wanted > 0; at += LANES) {
            const float least = top_count_ == wanted ? scores_[tops_[wanted - 1]] : -INFINITY;
            if (!any(load(scores_.data() + at) > all(least))) continue;
            for (int word = at; word < std::min(at + LANES, chosen_.count); word++) keep(word, wanted);
        }
    }

    // Among the best so far, after those that are as good.
    void keep(int word, int wanted) {
        if (top_count_ == wanted && !(scores_[word] > scores_[tops_[wanted - 1]])) return;
        int at = top_count_ == wanted ? wanted - 1 : top_count_++;
        for (; at > 0 && scores_[word] > scores_[tops_[at - 1]]; at--) tops_[at] = tops_[at - 1];
        tops_[at] = word;
    }

    // An edit whose text's sum is `from` and these rows, if it is among the best so far.
    template <int COUNT>
    void offer(Edit edit, const float* from, const Part (&parts)[COUNT], float prior, int words) {
        const float* rows[COUNT];
        Vec signs[COUNT], along{}, length{};
        int count = 0;
        for (const Part& part : parts) {
            if (part.row < 0) continue;
            rows[count] = sketch.row(part.row);
            signs[count++] = all(part.sign);
        }
        for (int at = 0; at < sketch.step; at += LANES) {
            Vec trial = load(from + at);
            for (int which = 0; which < count; which++) trial += signs[which] * load(rows[which] + at);
            along += load(query_.data() + at) * trial;
            length += trial * trial;
        }
        const float weight = edit.group == USUAL ? edits.usual_weight : edits.weight;
        edit.key = sum(along) / std::sqrt(std::max(sum(length), 1e-12f)) + weight * prior / (words + 1);
        Buffer<Edit>& heap = groups_[edit.group];
        int& held = held_[edit.group];
        const int most = most_of(edit.group);
        if (most == 0 || (held == most && !(edit.key > heap[0].key))) return;
        if (held == most) std::pop_heap(&heap[0], &heap[0] + held--, Better());
        heap[held++] = edit;
        std::push_heap(&heap[0], &heap[0] + held, Better());
    }

    void give(Buffer<Edit>& heap, int count, int64_t place, int most) {
        std::sort(&heap[0], &heap[0] + count, Better());
        for (int at = 0; at < most; at++, place++) {
            edits.edited_lengths[place] = at < count ? write(heap[at], n_, edits.edited + place * edits.room) : 0;
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
    const int32_t* words_ = nullptr;  // of the text that is edited, n_
    int n_ = 0, staged_ = 0;
    float prior_ = 0.0f;
    int top_count_ = 0, held_[GROUPS] = {};
    Shortlist chosen_;
    Buffer<float> wanted_, near_, squares_, bases_, products_, scores_, whole_, query_;
    Buffer<Sketch::Pair> pairs_;  // (n_ + 2, n_ + 2), the marks first and last
    Buffer<int32_t> tops_;
    Usual usual_;
    Buffer<Edit> groups_[GROUPS];  // heaps: the worst of the best first
};

}  // namespace unembed
