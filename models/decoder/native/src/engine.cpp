// The engine's door: plain C, called by `native_engine.py` through ctypes.
//
// Nothing here knows of Python or of text. Each call computes all its rows before it comes back, on as many threads as
// it is told, and may be made from several threads at once: a network is read-only once it is made.
#include <pthread.h>

#include <new>

#include "beams.h"
#include "edits.h"
#include "generate.h"
#include "score.h"

#if !defined(UNEMBED_ISA)
#define UNEMBED_ISA "generic"
#endif

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace unembed {

constexpr int ABI = 6;  // raised whenever a signature below changes
constexpr int OK = 0, NO_MEMORY = 1;
constexpr int STRETCH = 64;      // texts that one lane scores in turn, at most
constexpr int BEAM_LANES = 24;   // of a tile of beams
constexpr int BEAM_STAGED = 16;  // rows read together, where few rows fill a tile

struct Engine {
    Network<float>* exact = nullptr;
    Network<bf16>* coarse = nullptr;
};

// Not `new`: the library then needs no C++ runtime, only libc and libm.
template <typename Made, typename... Arguments>
Made* make(Arguments&&... arguments) {
    void* memory = std::malloc(sizeof(Made));
    return memory ? new (memory) Made(static_cast<Arguments&&>(arguments)...) : nullptr;
}

template <typename Made>
void unmake(Made* made) {
    if (!made) return;
    made->~Made();
    std::free(made);
}

template <typename Work>
struct Job {
    Work work;
    std::atomic<int64_t>* counter;
};

template <typename Work>
void* run_one(void* job) {
    auto* mine = static_cast<Job<Work*>*>(job);
    mine->work->run(*mine->counter);
    return nullptr;
}

// Runs what `create` makes on each thread; all take rows from one counter.
template <typename Work, typename Create>
int run_all(int threads, Create create) {
    std::atomic<int64_t> counter{0};
    constexpr int MOST = 256;
    threads = std::max(1, std::min(threads, MOST));
    Job<Work*> jobs[MOST];
    pthread_t handles[MOST];
    bool started[MOST] = {};
    int status = OK;
    for (int at = 0; at < threads; at++) {
        jobs[at] = {create(), &counter};
        if (!jobs[at].work) status = NO_MEMORY;
    }
    if (status == OK) {
        for (int at = 1; at < threads; at++) started[at] = pthread_create(&handles[at], nullptr, run_one<Work>, &jobs[at]) == 0;
        run_one<Work>(&jobs[0]);  // where a thread could not be started, this one does its rows
        for (int at = 1; at < threads; at++)
            if (started[at]) pthread_join(handles[at], nullptr);
    }
    for (int at = 0; at < threads; at++) unmake(jobs[at].work);
    return status;
}

int lanes_for(int64_t rows, int threads) { return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(TILE, (rows + threads - 1) / threads))); }

template <typename T>
int generate(const Network<T>& network, const Rows& rows, const Options& options, int threads) {
    const int width = lanes_for(rows.count, threads);
    threads = static_cast<int>(std::min<int64_t>(threads, (rows.count + width - 1) / width));
    return run_all<Generation<T>>(threads, [&]() -> Generation<T>* {
        auto* work = make<Generation<T>>(network, rows, options);
        if (work && work->allocate(width)) return work;
        unmake(work);
        return nullptr;
    });
}

template <typename T>
int score(const Network<T>& network, const Rows& rows, int threads) {
    // A tile of ROWS lanes is nearly as fast as a full one, and each cut in a row's texts is a beginning computed twice.
    const int64_t share = (rows.count + ROWS * threads - 1) / (ROWS * threads);
    Stretches stretches;
    if (!stretches.arrange(rows, std::min<int64_t>(share, STRETCH))) return NO_MEMORY;
    const int width = lanes_for(stretches.count, threads);
    threads = static_cast<int>(std::min<int64_t>(threads, (stretches.count + width - 1) / width));
    return run_all<Scoring<T>>(threads, [&]() -> Scoring<T>* {
        auto* work = make<Scoring<T>>(network, rows, stretches);
        if (work && work->allocate(width)) return work;
        unmake(work);
        return nullptr;
    });
}

template <typename T>
int search(const Network<T>& network, const Rows& rows, const Options& options, int beams, float length_penalty, int threads) {
    const int64_t share = (rows.count + threads - 1) / threads;
    const int groups = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(share, std::max(1, BEAM_LANES / beams))));
    const int staged = static_cast<int>(std::max<int64_t>(groups, std::min<int64_t>(share, BEAM_STAGED)));
    return run_all<BeamSearch<T>>(threads, [&]() -> BeamSearch<T>* {
        auto* work = make<BeamSearch<T>>(network, rows, options, beams, length_penalty);
        if (work && work->allocate(groups, staged)) return work;
        unmake(work);
        return nullptr;
    });
}

template <typename T>
Network<T>* folded(const Shape& shape, const Weights& weights) {
    auto* network = make<Network<T>>();
    if (network && network->fold(shape, weights)) return network;
    unmake(network);
    return nullptr;
}

}  // namespace unembed

using unembed::Engine;
using unembed::Options;
using unembed::Rows;
using unembed::Shape;
using unembed::Weights;

EXPORT int unembed_engine_abi(void) { return unembed::ABI; }

EXPORT const char* unembed_engine_isa(void) { return UNEMBED_ISA; }

EXPORT void unembed_destroy(Engine* engine) {
    if (!engine) return;
    unembed::unmake(engine->exact);
    unembed::unmake(engine->coarse);
    unembed::unmake(engine);
}

// The folded network, in bf16 or in float32; nullptr where there is no memory for it.
EXPORT Engine* unembed_create(const Shape* shape, const Weights* weights, int32_t in_bf16) {
    auto* engine = unembed::make<Engine>();
    if (!engine) return nullptr;
    if (in_bf16)
        engine->coarse = unembed::folded<unembed::bf16>(*shape, *weights);
    else
        engine->exact = unembed::folded<float>(*shape, *weights);
    if (engine->exact || engine->coarse) return engine;
    unembed::unmake(engine);
    return nullptr;
}

// Writes ids (N, T), log_probs (N, T) and lengths (N), which the caller has filled with PAD, 0 and 0.
EXPORT int unembed_generate(const Engine* engine, const Rows* rows, const Options* options, int32_t threads) {
    if (rows->count == 0) return unembed::OK;
    return engine->coarse ? unembed::generate(*engine->coarse, *rows, *options, threads)
                          : unembed::generate(*engine->exact, *rows, *options, threads);
}

// Writes log_probs (N, T) of ids (N, T), whose lengths (N) are given, as may be their owners.
EXPORT int unembed_score(const Engine* engine, const Rows* rows, int32_t threads) {
    if (rows->count == 0) return unembed::OK;
    return engine->coarse ? unembed::score(*engine->coarse, *rows, threads) : unembed::score(*engine->exact, *rows, threads);
}

// Writes ids, log_probs (N x beams, T), lengths and scores (N x beams): in no order; a score of -inf: no text.
EXPORT int unembed_beams(const Engine* engine, const Rows* rows, const Options* options, int32_t beams, float length_penalty,
                         int32_t threads) {
    if (rows->count == 0) return unembed::OK;
    return engine->coarse ? unembed::search(*engine->coarse, *rows, *options, beams, length_penalty, threads)
                          : unembed::search(*engine->exact, *rows, *options, beams, length_penalty, threads);
}

using unembed::Editor;
using unembed::Edits;
using unembed::Sketch;
using unembed::SketchRows;

// The rows of a sketch, ready to be looked up; nullptr where there is no memory for them.
EXPORT Sketch* unembed_sketch_create(const SketchRows* rows) {
    auto* sketch = unembed::make<Sketch>();
    if (sketch && sketch->fold(*rows)) return sketch;
    unembed::unmake(sketch);
    return nullptr;
}

EXPORT void unembed_sketch_destroy(Sketch* sketch) { unembed::unmake(sketch); }

// Writes edited, edited_lengths and keys of the best edits of each text.
EXPORT int unembed_edit(const Sketch* sketch, const Edits* edits, int32_t threads) {
    if (edits->count == 0) return unembed::OK;
    threads = std::max(1, threads);
    const int64_t staged = std::min<int64_t>(unembed::TEXTS, (edits->count + threads - 1) / threads);
    threads = static_cast<int32_t>(std::min<int64_t>(threads, (edits->count + staged - 1) / staged));
    return unembed::run_all<Editor>(threads, [&]() -> Editor* {
        auto* work = unembed::make<Editor>(*sketch, *edits);
        if (work && work->allocate(static_cast<int>(staged))) return work;
        unembed::unmake(work);
        return nullptr;
    });
}
