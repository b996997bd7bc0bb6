//! What a handler returns when all went well: a body as JSON and one of the few statuses of success.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::problem::Problem;

/// A handler's result.
pub(crate) type Outcome<T> = Result<Answer<T>, Problem>;

/// A success with a JSON body.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    status: StatusCode,
    body: T,
}

impl<T> Answer<T> {
    /// 200.
    pub(crate) fn ok(body: T) -> Self {
        Self { status: StatusCode::OK, body }
    }

    /// 201.
    pub(crate) fn created(body: T) -> Self {
        Self { status: StatusCode::CREATED, body }
    }

    /// 207: a part of it failed, and the body says which.
    pub(crate) fn multi_status(body: T) -> Self {
        Self { status: StatusCode::MULTI_STATUS, body }
    }

    /// 503 with a body that is no problem: what health checks read.
    pub(crate) fn unavailable(body: T) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, body }
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.body) {
            Ok(bytes) => {
                let mut response = (self.status, bytes).into_response();
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
            Err(_) => Problem::new(lakehouse_types::Code::Internal, "the answer could not be written").into_response(),
        }
    }
}

/// A success that has nothing to say.
#[derive(Debug)]
pub(crate) struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}
