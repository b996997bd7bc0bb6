//! What is asked of a server whose end comes in the middle: each act changes what [`crate::crash::look`] tells.

use futures::{FutureExt, future::BoxFuture};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{answer::Answer, caller::Caller, lake::component};

/// Nothing is answered when the connection breaks.
pub(crate) type Act = fn(Caller) -> BoxFuture<'static, Option<Answer>>;

fn ask(
    admin: Caller,
    method: Method,
    path: &str,
    say: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> BoxFuture<'static, Option<Answer>> {
    let request = say(admin.request(method, path));
    async move { admin.try_send(request).await }.boxed()
}

fn ingest(admin: Caller, query: &str, rows: &'static str) -> BoxFuture<'static, Option<Answer>> {
    ask(admin, Method::POST, &format!("/ingest/file?format=csv&{query}"), |request| request.body(rows))
}

fn post(admin: Caller, path: &str, body: &Value) -> BoxFuture<'static, Option<Answer>> {
    ask(admin, Method::POST, path, |request| request.json(body))
}

pub(crate) fn append(admin: Caller) -> BoxFuture<'static, Option<Answer>> {
    ingest(admin, "dataset=t", "id,v\nCAND-000005,16\nCAND-000006,32\n")
}

pub(crate) fn first_ingest(admin: Caller) -> BoxFuture<'static, Option<Answer>> {
    ingest(admin, "dataset=fresh", "id,v\na,1\nb,2\n")
}

pub(crate) fn upsert(admin: Caller) -> BoxFuture<'static, Option<Answer>> {
    ingest(admin, "dataset=t&mode=upsert&key=id", "id,v\nCAND-000002,16\nCAND-000006,32\n")
}

pub(crate) fn tombstone(admin: Caller) -> BoxFuture<'static, Option<Answer>> {
    let keys = ["CAND-000002", "CAND-000003"];
    let body = json!({ "row_key_column": "id", "row_key_values": keys, "actor": "x", "reason": "y" });
    post(admin, "/catalog/datasets/by-name/t/tombstone", &body)
}

pub(crate) fn plugin_upload(admin: Caller) -> BoxFuture<'static, Option<Answer>> {
    ask(admin, Method::PUT, "/plugins/redact-mask", |request| request.body(component("redact-mask-v2")))
}

pub(crate) fn refresh(admin: Caller) -> BoxFuture<'static, Option<Answer>> {
    post(admin, "/vectors/refresh/t", &json!({ "index_name": "ids" }))
}

pub(crate) fn first_refresh(admin: Caller) -> BoxFuture<'static, Option<Answer>> {
    post(admin, "/vectors/refresh/t", &json!({ "index_name": "new", "id_column": "id", "text_column": "id" }))
}

pub(crate) fn compaction(admin: Caller) -> BoxFuture<'static, Option<Answer>> {
    post(admin, "/query/compact", &json!({ "dataset": "t" }))
}
