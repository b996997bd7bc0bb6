//! Promises of an index as a whole, against exact search.

mod damage;
mod file;
mod filter;
mod search;

/// One of each structure that can be built.
const SPECS: &[&str] = &[
    "Flat",
    "SQ8",
    "SQ4",
    "SQ6",
    "SQfp16",
    "SQbf16",
    "HNSW32",
    "HNSW8,SQ8",
    "HNSW8_SQbf16",
    "IVF16,Flat",
    "IVF16,SQ8",
    "IVF16_HNSW8,SQfp16",
    "IVF16,PQ8",
    "IVF16,PQ6x6",
    "IVF16,PQ12x4fs,RFlat",
    "L2norm,Flat",
    "PCA16,HNSW16",
    "PCAR16,IVF16,PQ8,Refine(SQ8)",
    "RR24,SQ8",
    "OPQ4_16,IVF16,PQ4x4fs,RFlat",
];
