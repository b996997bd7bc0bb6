//! The route table: every route of the server, once.

use crate::route::Route;

mod activation;
mod buckets;
mod compaction;
mod datasets;
mod dry_run;
mod erasure;
mod grants;
mod health;
mod indexes;
pub(crate) mod ingest;
mod ingest_bucket;
mod ingest_db;
mod jobs;
mod journal;
mod keys;
mod pages;
mod paging;
mod plugins;
mod profiles;
mod query;
mod search;
mod tombstones;
mod truth;
mod views;

/// All routes. The router, the OpenAPI document and the role matrix are made from this list.
pub(crate) fn all() -> Vec<Route> {
    [
        health::routes(),
        pages::routes(),
        ingest::routes(),
        ingest_bucket::routes(),
        ingest_db::routes(),
        query::routes(),
        buckets::routes(),
        datasets::routes(),
        tombstones::routes(),
        compaction::routes(),
        erasure::routes(),
        jobs::routes(),
        views::routes(),
        profiles::routes(),
        plugins::routes(),
        dry_run::routes(),
        indexes::routes(),
        activation::routes(),
        search::routes(),
        truth::routes(),
        journal::routes(),
        keys::routes(),
        grants::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
