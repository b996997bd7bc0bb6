// Searching, through const alone. FAISS's own entry points cannot take a borrowed filter through every layer, allocate
// a visited table a query, and have no per-query parameters beneath a refinement: so the layers are walked here.

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include <faiss/IndexFlatCodes.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/DistanceComputer.h>
#include <faiss/impl/FaissAssert.h>
#include <faiss/impl/FaissException.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/impl/ResultHandler.h>

#include "guard.h"
#include "settle.h"

namespace {

using faiss::idx_t;

// Beyond this a squared distance may overflow, and FAISS's graph search reads out of bounds on infinities.
// The same bound as STORED_LIMIT in src/format/cursor.rs.
constexpr float STORED_LIMIT = 1e15F;

// A thread keeps one byte for each ordinal of the largest graph it has searched.
thread_local faiss::VisitedTable visited_of_thread(0);

struct Live final : faiss::IDSelector {
    const uint64_t* words;
    idx_t bits;

    Live(const uint64_t* words, size_t bits) : words(words), bits(static_cast<idx_t>(bits)) {}

    bool is_member(idx_t id) const override {
        return id >= 0 && id < bits && ((words[id >> 6] >> (id & 63)) & 1) != 0;
    }
};

struct Request {
    const lake_query& query;
    faiss::IDSelector* live;  // null for all
};

// Nearest first in `scores` and `ordinals`, k of each, padded with ordinals of -1.
struct Answer {
    idx_t k;
    float* scores;
    idx_t* ordinals;
};

void search(const faiss::Index& index, const float* vector, const Request& request, Answer answer);

void search_graph(const faiss::IndexHNSW& index, const float* vector, size_t ef_search, faiss::IDSelector* live, Answer answer) {
    const bool similarity = faiss::is_similarity_metric(index.metric_type);
    std::unique_ptr<faiss::DistanceComputer> distance(index.storage->get_distance_computer());
    if (similarity) {
        auto negative = std::make_unique<faiss::NegativeDistanceComputer>(distance.get());
        distance.release();
        distance = std::move(negative);
    }
    distance->set_query(vector);

    faiss::VisitedTable& visited = visited_of_thread;
    if (visited.visited.size() < static_cast<size_t>(index.ntotal)) {
        visited.visited.resize(index.ntotal, 0);
    }

    faiss::SearchParametersHNSW parameters;
    parameters.efSearch = static_cast<int>(std::max(ef_search, static_cast<size_t>(answer.k)));
    parameters.sel = live;

    using Results = faiss::HeapBlockResultHandler<faiss::HNSW::C>;
    Results block(1, answer.scores, answer.ordinals, answer.k);
    Results::SingleResultHandler results(block);
    results.begin(0);
    try {
        index.hnsw.search(*distance, results, visited, &parameters);  // advances `visited` at its end
    } catch (...) {
        visited.advance();
        throw;
    }
    results.end();
    if (similarity) {
        std::transform(answer.scores, answer.scores + answer.k, answer.scores, [](float score) { return -score; });
    }
}

void search_lists(const faiss::IndexIVF& index, const float* vector, const Request& request, Answer answer) {
    faiss::SearchParametersIVF parameters;
    parameters.nprobe = std::min(request.query.nprobe, index.nlist);
    parameters.sel = request.live;

    std::vector<float> distances(parameters.nprobe);
    std::vector<idx_t> lists(parameters.nprobe);
    const Answer probes{static_cast<idx_t>(parameters.nprobe), distances.data(), lists.data()};
    if (const auto* graph = dynamic_cast<const faiss::IndexHNSW*>(index.quantizer)) {
        search_graph(*graph, vector, 2 * parameters.nprobe, nullptr, probes);
    } else {
        index.quantizer->search(1, vector, probes.k, probes.scores, probes.ordinals);
    }

    // Statistics of our own keep searches off FAISS's shared counters; fast scan takes none.
    faiss::IndexIVFStats stats;
    const bool fast_scan = index.invlists->code_size == faiss::InvertedLists::INVALID_CODE_SIZE;
    index.search_preassigned(1, vector, answer.k, lists.data(), distances.data(), answer.scores, answer.ordinals, false,
                             &parameters, fast_scan ? nullptr : &stats);
}

void search_refined(const faiss::IndexRefine& index, const float* vector, const Request& request, Answer answer) {
    const idx_t wide = std::max(answer.k, static_cast<idx_t>(request.query.candidates));
    std::vector<float> rough(wide);
    std::vector<idx_t> candidates(wide, -1);
    search(*index.base_index, vector, request, Answer{wide, rough.data(), candidates.data()});

    std::unique_ptr<faiss::DistanceComputer> exact(index.refine_index->get_distance_computer());
    exact->set_query(vector);
    std::vector<std::pair<float, idx_t>> ranked;
    ranked.reserve(wide);
    for (const idx_t ordinal : candidates) {
        if (ordinal < 0 || ordinal >= index.ntotal) {
            continue;
        }
        const float score = (*exact)(ordinal);
        if (!std::isnan(score)) {
            ranked.emplace_back(score, ordinal);
        }
    }
    const bool similarity = faiss::is_similarity_metric(index.metric_type);
    const size_t kept = std::min(ranked.size(), static_cast<size_t>(answer.k));
    std::partial_sort(ranked.begin(), ranked.begin() + kept, ranked.end(), [similarity](const auto& a, const auto& b) {
        return a.first == b.first ? a.second < b.second : (a.first > b.first) == similarity;
    });
    std::fill(answer.ordinals, answer.ordinals + answer.k, idx_t{-1});
    for (size_t rank = 0; rank < kept; ++rank) {
        answer.scores[rank] = ranked[rank].first;
        answer.ordinals[rank] = ranked[rank].second;
    }
}

void search_transformed(const faiss::IndexPreTransform& index, const float* vector, const Request& request, Answer answer) {
    const faiss::TransformedVectors transformed(vector, index.apply_chain(1, vector));
    const bool bounded = std::all_of(transformed.x, transformed.x + index.index->d,
                                     [](float value) { return std::fabs(value) <= STORED_LIMIT; });
    FAISS_THROW_IF_NOT_MSG(bounded, "the transformed query is out of range");
    search(*index.index, transformed.x, request, answer);
}

void search(const faiss::Index& index, const float* vector, const Request& request, Answer answer) {
    if (const auto* chain = dynamic_cast<const faiss::IndexPreTransform*>(&index)) {
        search_transformed(*chain, vector, request, answer);
    } else if (const auto* refine = dynamic_cast<const faiss::IndexRefine*>(&index)) {
        search_refined(*refine, vector, request, answer);
    } else if (const auto* graph = dynamic_cast<const faiss::IndexHNSW*>(&index)) {
        search_graph(*graph, vector, request.query.ef_search, request.live, answer);
    } else if (const auto* lists = dynamic_cast<const faiss::IndexIVF*>(&index)) {
        search_lists(*lists, vector, request, answer);
    } else {
        faiss::SearchParameters parameters;
        parameters.sel = request.live;
        index.search(1, vector, answer.k, answer.scores, answer.ordinals, &parameters);
    }
}

}  // namespace

int32_t lake_search(const lake_index* index, const lake_query* query, float* scores, int64_t* ordinals, lake_message message) {
    static_assert(sizeof(idx_t) == sizeof(int64_t), "ordinals are 64 bits wide");
    return lake::guarded(message, [&] {
        lake::settle_search_thread();
        Live live(query->live, query->live_bits);
        const Request request{*query, query->live ? &live : nullptr};
        search(*reinterpret_cast<const faiss::Index*>(index), query->vector, request,
               Answer{static_cast<idx_t>(query->k), scores, ordinals});
    });
}
