//! Extractors that answer with problems: JSON bodies, query parameters, path segments, headers, the caller.
//!
//! **Invariant**: an unknown field or parameter is refused by its name; messages name fields and types, never the values sent.

use std::str::FromStr;

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use bytes::Bytes;
use lakehouse_engine::Caller;
use lakehouse_types::Code;
use serde::de::DeserializeOwned;

use crate::{app::App, problem::Problem};

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(not_json());
        }
        let limit = app.engine.settings().server.max_json_bytes;
        parse(&read(request, limit).await?).map(Self)
    }
}

fn not_json() -> Problem {
    Problem::new(Code::InvalidBody, "the body must be JSON, with the header `Content-Type: application/json`")
}

/// A JSON body that may be left out.
#[derive(Debug)]
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<App> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let limit = app.engine.settings().server.max_json_bytes;
        let is_json = is_json(request.headers());
        let bytes = read(request, limit).await?;
        match (bytes.is_empty(), is_json) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => parse(&bytes).map(Self),
            (false, false) => Err(not_json()),
        }
    }
}

async fn read(request: Request, limit: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(request.into_body(), limit).await.map_err(|_| Problem::new(Code::InvalidBody, "the body broke off"))
}

/// Parses a JSON body.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(Code::InvalidBody, format!("the body is not as expected: {}", without_values(&error.to_string())))
    })
}

/// Cuts the value out of serde's `invalid type: string "…", expected …` and ``unknown variant `…`, expected …``, which a query's
/// error puts behind the parameter's name.
fn without_values(message: &str) -> String {
    let marks = ["invalid type: ", "invalid value: ", "unknown variant "];
    let Some((at, mark)) = marks.iter().filter_map(|mark| Some((message.find(mark)?, mark))).min() else {
        return message.to_owned();
    };
    let (told, value) = message.split_at(at + mark.len());
    let kind: String = value.chars().take_while(|c| c.is_ascii_alphabetic() || *c == ' ').collect();
    let expected = value.rfind(", expected ").map_or("", |at| &value[at..]);
    format!("{}{expected}", format!("{told}{kind}").trim_end())
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The query parameters.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(|rejection| {
            let message = std::error::Error::source(&rejection).map_or_else(|| rejection.to_string(), ToString::to_string);
            Problem::new(Code::InvalidParameter, format!("query parameters: {}", without_values(&message)))
        })
    }
}

/// The one variable segment of the path, as an id.
#[derive(Debug)]
pub(crate) struct Named<T>(pub(crate) T);

impl<T: FromStr<Err: std::fmt::Display>> FromRequestParts<App> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let axum::extract::Path(text) = axum::extract::Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| Problem::new(Code::InvalidName, "the name in the path is no UTF-8"))?;
        text.parse().map(Self).map_err(|error: T::Err| Problem::new(Code::InvalidName, error.to_string()))
    }
}

/// Who asks; set by the guard.
#[derive(Debug)]
pub(crate) struct Who(pub(crate) Caller);

impl FromRequestParts<App> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parts.extensions.get::<Caller>().cloned().map(Self).ok_or_else(|| Problem::new(Code::Internal, "the route has no guard"))
    }
}

/// One header as an id or another parsed value.
///
/// # Errors
/// When it is given twice, is no text, or does not parse.
pub(crate) fn header_value<T: FromStr<Err: std::fmt::Display>>(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<Option<T>, Problem> {
    let malformed = |detail: &dyn std::fmt::Display| Problem::new(Code::InvalidParameter, format!("header `{name}`: {detail}"));
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(malformed(&"is given twice"));
    }
    let text = value.to_str().map_err(|_| malformed(&"must be plain text"))?;
    text.trim().parse().map(Some).map_err(|error: T::Err| malformed(&error))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{parse, without_values};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(rename = "name")]
        _name: u32,
        #[serde(rename = "kind")]
        _kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Good,
        Bad,
    }

    #[test]
    fn a_bad_body_is_told_by_field_and_type_without_its_values() {
        let check = |body: &str, has: &str| {
            let problem = parse::<Body>(body.as_bytes()).unwrap_err();
            let detail = problem.body(&lakehouse_types::RequestId::new("r").unwrap())["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(has), "{detail}");
            assert!(!detail.contains("canary"), "{detail}");
        };
        check(r#"{"name": 1, "nmae": 2}"#, "unknown field `nmae`, expected `name` or `kind`");
        check(r#"{"name": "canary, expected nothing"}"#, "invalid type: string, expected u32 at line 1");
        check(r#"{"kind": "canary, expected `none`"}"#, "unknown variant, expected `good` or `bad` at line 1");
        check(r#"{"name": 1"#, "EOF while parsing");
        check(r#"{}"#, "missing field `name`");
    }

    #[test]
    fn other_messages_stay_whole() {
        assert_eq!(without_values("missing field `x`"), "missing field `x`");
    }

    #[test]
    fn a_value_is_cut_out_behind_a_parameters_name_too() {
        for (message, told) in [
            (
                "mode: unknown variant `canary`, expected `append` or `replace`",
                "mode: unknown variant, expected `append` or `replace`",
            ),
            ("limit: invalid type: string \"canary\", expected usize", "limit: invalid type: string, expected usize"),
            ("unknown variant `canary`, there are no variants", "unknown variant"),
        ] {
            assert_eq!(without_values(message), told);
        }
    }
}
