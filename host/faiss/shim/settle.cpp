#include "settle.h"

#include <dlfcn.h>
#include <omp.h>

#include <mutex>

#include <faiss/IndexIVFPQ.h>

namespace lake {

namespace {

// FAISS's own bound is 2 GiB an index. Beyond this, IVF with PQ computes its tables a query at a time.
constexpr size_t TABLE_BYTES = size_t{256} << 20;

// libblas may be another library than OpenBLAS, so this symbol is asked for, not linked.
void one_blas_thread() {
    using SetThreads = void (*)(int);
    if (auto set = reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "openblas_set_num_threads"))) {
        set(1);
    }
}

}  // namespace

void settle_process() {
    static std::once_flag once;
    std::call_once(once, [] {
        one_blas_thread();
        faiss::precomputed_table_max_bytes = TABLE_BYTES;
    });
}

void settle_search_thread() {
    settle_process();
    thread_local bool settled = false;
    if (!settled) {
        omp_set_num_threads(1);
        settled = true;
    }
}

}  // namespace lake
