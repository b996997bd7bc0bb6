// The C face of FAISS for src/ffi.rs: few calls, plain data, no exception leaves it.
//
// Every call that can fail answers a lake_status and may fill `message` (NUL-terminated, cut to its capacity).
// Pointers are borrowed for the call; only lake_index is owned, by whoever got it, until lake_free.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lake_index lake_index;

typedef enum {
    LAKE_OK = 0,
    LAKE_REFUSED = 1,  // FAISS threw: message says why
    LAKE_MEMORY = 2,   // an allocation failed
    LAKE_SINK = 3,     // lake_write's sink said no
} lake_status;

typedef struct {
    char* text;
    size_t capacity;
} lake_message;

typedef enum {
    LAKE_FLAT = 0,
    LAKE_QUANTIZED = 1,
    LAKE_HNSW = 2,
    LAKE_IVF = 3,
} lake_kind;

typedef struct {
    uint64_t count;
    uint64_t bytes;      // heap that the index holds
    const float* flat;   // count * dimensions floats when the whole index is a flat one, else null
    int32_t dimensions;
    int32_t metric;      // faiss::MetricType
    int32_t kind;        // lake_kind
} lake_facts;

typedef struct {
    const float* vector;   // `dimensions` floats
    size_t k;              // from 1
    size_t candidates;     // what a refining index takes from its base: at least k
    size_t ef_search;
    size_t nprobe;
    const uint64_t* live;  // one bit an ordinal, or null for all
    size_t live_bits;
} lake_query;

// Trains and fills an index by a factory string, on the calling thread and `threads - 1` of its own.
int32_t lake_build(const char* description, int32_t dimensions, int32_t metric, int32_t ef_construction, int32_t threads,
                   uint64_t count, const float* vectors, lake_index** out, lake_message message);

// From the bytes that lake_write wrote. The caller has checked their structure: FAISS trusts what it reads.
int32_t lake_read(const uint8_t* bytes, size_t length, lake_index** out, lake_message message);

// Hands the bytes to `sink` piece by piece, until it answers false.
int32_t lake_write(const lake_index* index, bool (*sink)(void* context, const uint8_t* bytes, size_t length), void* context,
                   lake_message message);

int32_t lake_describe(const lake_index* index, lake_facts* out, lake_message message);

// Fills k scores and ordinals, nearest first; an ordinal of -1 is no hit. May run on many threads at once.
int32_t lake_search(const lake_index* index, const lake_query* query, float* scores, int64_t* ordinals, lake_message message);

void lake_free(lake_index* index);

#ifdef __cplusplus
}
#endif
