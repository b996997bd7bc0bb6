//! Lists in pages: `after` a cursor that the previous page gave as `next`, up to `limit` items.

use serde::Deserialize;
use utoipa::IntoParams;

/// Items of a page when the caller does not say.
const USUAL: usize = 100;

/// Items of a page at most.
const MOST: usize = 1_000;

/// Where a page begins and how long it may be.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// The `next` of the page before.
    pub(crate) after: Option<String>,
    /// 1 to 1000; 100 when absent.
    pub(crate) limit: Option<usize>,
}

impl Paging {
    pub(crate) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    pub(crate) fn limit(&self) -> usize {
        limit(self.limit)
    }
}

/// The number of items that a caller gets who asked for so many.
pub(crate) fn limit(asked: Option<usize>) -> usize {
    asked.unwrap_or(USUAL).clamp(1, MOST)
}
