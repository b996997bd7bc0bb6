// Building: the one place that mutates an index.

#include <omp.h>

#include <memory>
#include <vector>

#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/FaissAssert.h>
#include <faiss/index_factory.h>

#include "guard.h"
#include "settle.h"

namespace {

// Small data is no reason to write warnings to stderr: what it costs in recall is measured, not guessed.
void quiet(faiss::ClusteringParameters& clustering) {
    clustering.min_points_per_centroid = 1;
}

// Lends OPQ its quantizer, quiet, for as long as it is trained.
class OpqLoans {
public:
    void lend(faiss::OPQMatrix* rotation) {
        auto quantizer = std::make_unique<faiss::ProductQuantizer>(rotation->d_out, rotation->M, 8);
        quiet(quantizer->cp);
        loans.push_back(Loan{rotation, std::move(quantizer)});
        rotation->pq = loans.back().quantizer.get();
    }

    void take_back() {
        for (const Loan& loan : loans) {
            loan.rotation->pq = nullptr;
        }
        loans.clear();
    }

private:
    struct Loan {
        faiss::OPQMatrix* rotation;
        std::unique_ptr<faiss::ProductQuantizer> quantizer;
    };
    std::vector<Loan> loans;
};

void tune(faiss::Index* index, int ef_construction, OpqLoans& loans) {
    if (auto* chain = dynamic_cast<faiss::IndexPreTransform*>(index)) {
        for (faiss::VectorTransform* transform : chain->chain) {
            if (auto* rotation = dynamic_cast<faiss::OPQMatrix*>(transform)) {
                loans.lend(rotation);
            }
        }
        tune(chain->index, ef_construction, loans);
    } else if (auto* refine = dynamic_cast<faiss::IndexRefine*>(index)) {
        tune(refine->base_index, ef_construction, loans);
        tune(refine->refine_index, ef_construction, loans);
    } else if (auto* graph = dynamic_cast<faiss::IndexHNSW*>(index)) {
        graph->hnsw.efConstruction = ef_construction;
    } else if (auto* lists = dynamic_cast<faiss::IndexIVF*>(index)) {
        quiet(lists->cp);
        tune(lists->quantizer, ef_construction, loans);
        if (auto* codes = dynamic_cast<faiss::IndexIVFPQ*>(lists)) {
            // Polysemous codes are slow to train and no search of ours uses them.
            codes->do_polysemous_training = false;
            quiet(codes->pq.cp);
        } else if (auto* fast = dynamic_cast<faiss::IndexIVFPQFastScan*>(lists)) {
            quiet(fast->pq.cp);
        }
    }
}

}  // namespace

int32_t lake_build(const char* description, int32_t dimensions, int32_t metric, int32_t ef_construction, int32_t threads,
                   uint64_t count, const float* vectors, lake_index** out, lake_message message) {
    return lake::guarded(message, [&] {
        lake::settle_process();
        omp_set_num_threads(threads);
        std::unique_ptr<faiss::Index> index(
                faiss::index_factory(dimensions, description, static_cast<faiss::MetricType>(metric)));
        OpqLoans loans;
        tune(index.get(), ef_construction, loans);
        const auto n = static_cast<faiss::idx_t>(count);
        if (!index->is_trained) {
            index->train(n, vectors);
        }
        loans.take_back();
        if (n > 0) {
            index->add(n, vectors);
        }
        FAISS_THROW_IF_NOT_MSG(index->ntotal == n && index->metric_type == metric, "the index is not what was asked for");
        *out = reinterpret_cast<lake_index*>(index.release());
    });
}
