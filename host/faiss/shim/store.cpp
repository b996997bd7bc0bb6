// Bytes in, bytes out, and what an index is.

#include <cstring>
#include <memory>

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/FaissAssert.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>
#include <faiss/invlists/BlockInvertedLists.h>

#include "guard.h"
#include "settle.h"

namespace {

// Copies from borrowed memory straight into the index's own vectors: the only copy.
struct Source : faiss::IOReader {
    const uint8_t* next;
    size_t left;

    Source(const uint8_t* bytes, size_t length) : next(bytes), left(length) { name = "index"; }

    size_t operator()(void* into, size_t size, size_t items) override {
        if (size == 0 || items == 0) {
            return items;
        }
        const size_t whole = std::min(items, left / size);
        std::memcpy(into, next, whole * size);
        next += whole * size;
        left -= whole * size;
        return whole;
    }
};

struct Sink : faiss::IOWriter {
    bool (*sink)(void*, const uint8_t*, size_t);
    void* context;

    Sink(bool (*sink)(void*, const uint8_t*, size_t), void* context) : sink(sink), context(context) { name = "index"; }

    size_t operator()(const void* from, size_t size, size_t items) override {
        if (size != 0 && items != 0 && !sink(context, static_cast<const uint8_t*>(from), size * items)) {
            throw lake::SinkFull();
        }
        return items;
    }
};

template <class T>
size_t bytes_of(const T& values) {
    return values.size() * sizeof(values[0]);
}

size_t bytes_of_transform(const faiss::VectorTransform* transform) {
    size_t bytes = sizeof(*transform);
    if (const auto* linear = dynamic_cast<const faiss::LinearTransform*>(transform)) {
        bytes += bytes_of(linear->A) + bytes_of(linear->b);
    }
    if (const auto* pca = dynamic_cast<const faiss::PCAMatrix*>(transform)) {
        bytes += bytes_of(pca->mean) + bytes_of(pca->eigenvalues) + bytes_of(pca->PCAMat);
    }
    return bytes;
}

size_t bytes_of_lists(const faiss::InvertedLists* lists) {
    size_t bytes = 0;
    const auto* blocks = dynamic_cast<const faiss::BlockInvertedLists*>(lists);
    for (size_t list = 0; list < lists->nlist; ++list) {
        const size_t entries = lists->list_size(list);
        bytes += entries * sizeof(faiss::idx_t);
        bytes += blocks ? blocks->codes[list].size() : entries * lists->code_size;
    }
    return bytes;
}

size_t bytes_of_index(const faiss::Index* index) {
    if (const auto* chain = dynamic_cast<const faiss::IndexPreTransform*>(index)) {
        size_t bytes = bytes_of_index(chain->index);
        for (const auto* transform : chain->chain) {
            bytes += bytes_of_transform(transform);
        }
        return bytes;
    }
    if (const auto* refine = dynamic_cast<const faiss::IndexRefine*>(index)) {
        return bytes_of_index(refine->base_index) + bytes_of_index(refine->refine_index);
    }
    if (const auto* graph = dynamic_cast<const faiss::IndexHNSW*>(index)) {
        const faiss::HNSW& hnsw = graph->hnsw;
        return bytes_of(hnsw.levels) + bytes_of(hnsw.offsets) + bytes_of(hnsw.neighbors) + bytes_of_index(graph->storage);
    }
    if (const auto* lists = dynamic_cast<const faiss::IndexIVF*>(index)) {
        size_t bytes = bytes_of_lists(lists->invlists) + bytes_of_index(lists->quantizer);
        if (const auto* codes = dynamic_cast<const faiss::IndexIVFPQ*>(lists)) {
            bytes += bytes_of(codes->pq.centroids) + codes->precomputed_table.nbytes();
        } else if (const auto* fast = dynamic_cast<const faiss::IndexIVFPQFastScan*>(lists)) {
            bytes += bytes_of(fast->pq.centroids) + fast->precomputed_table.nbytes();
        }
        return bytes;
    }
    if (const auto* codes = dynamic_cast<const faiss::IndexFlatCodes*>(index)) {
        return codes->codes.size();
    }
    return 0;
}

// The structure that decides how a search goes; refusing what search.cpp cannot filter.
int32_t kind_of(const faiss::Index* index) {
    if (const auto* chain = dynamic_cast<const faiss::IndexPreTransform*>(index)) {
        return kind_of(chain->index);
    }
    if (const auto* refine = dynamic_cast<const faiss::IndexRefine*>(index)) {
        return kind_of(refine->base_index);
    }
    if (dynamic_cast<const faiss::IndexFlat*>(index)) {
        return LAKE_FLAT;
    }
    if (dynamic_cast<const faiss::IndexScalarQuantizer*>(index)) {
        return LAKE_QUANTIZED;
    }
    if (const auto* graph = dynamic_cast<const faiss::IndexHNSW*>(index)) {
        FAISS_THROW_IF_NOT_MSG(graph->storage, "a graph without its vectors");
        return LAKE_HNSW;
    }
    if (const auto* fast = dynamic_cast<const faiss::IndexIVFPQFastScan*>(index)) {
        // FAISS 1.12 sizes the tables of such an index by its stored nprobe and reads them by the query's.
        FAISS_THROW_IF_NOT_MSG(!fast->by_residual, "fast scan by residual cannot be probed per query");
        return LAKE_IVF;
    }
    const bool lists = dynamic_cast<const faiss::IndexIVFFlat*>(index) || dynamic_cast<const faiss::IndexIVFPQ*>(index) ||
            dynamic_cast<const faiss::IndexIVFScalarQuantizer*>(index);
    FAISS_THROW_IF_NOT_MSG(lists, "an index of a kind that cannot be searched here");
    return LAKE_IVF;
}

const faiss::Index* of(const lake_index* index) {
    return reinterpret_cast<const faiss::Index*>(index);
}

}  // namespace

int32_t lake_read(const uint8_t* bytes, size_t length, lake_index** out, lake_message message) {
    return lake::guarded(message, [&] {
        lake::settle_search_thread();
        Source source(bytes, length);
        std::unique_ptr<faiss::Index> index(faiss::read_index(&source, faiss::IO_FLAG_PQ_SKIP_SDC_TABLE));
        FAISS_THROW_IF_NOT_MSG(index && source.left == 0, "bytes are left over");
        *out = reinterpret_cast<lake_index*>(index.release());
    });
}

int32_t lake_write(const lake_index* index, bool (*sink)(void*, const uint8_t*, size_t), void* context, lake_message message) {
    return lake::guarded(message, [&] {
        Sink writer(sink, context);
        faiss::write_index(of(index), &writer);
    });
}

int32_t lake_describe(const lake_index* index, lake_facts* out, lake_message message) {
    return lake::guarded(message, [&] {
        const faiss::Index* whole = of(index);
        const auto* flat = dynamic_cast<const faiss::IndexFlat*>(whole);
        *out = lake_facts{
                static_cast<uint64_t>(whole->ntotal),
                bytes_of_index(whole),
                flat ? flat->get_xb() : nullptr,
                whole->d,
                static_cast<int32_t>(whole->metric_type),
                kind_of(whole),
        };
    });
}

void lake_free(lake_index* index) {
    delete reinterpret_cast<faiss::Index*>(index);
}
