//! What stands in front of every handler: the key, the role, the profile, the size and pace of the body, the time.
//!
//! **Invariant**: a handler runs only after its rule has passed; a body is never read before that.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};
use lakehouse_engine::Action;
use lakehouse_types::{Code, ProfileId, RequestId};

use crate::{
    app::App,
    body::{Cut, Inflow, discard_body},
    credentials::{self, Basic},
    envelope::Challenge,
    head, origin,
    problem::Problem,
    request::header_value,
    route::{Access, Load},
};

/// The profile that the request wants to run under.
pub(crate) const PROFILE: HeaderName = HeaderName::from_static("x-lakehouse-profile");

/// What a request must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) access: Access,
    pub(crate) load: Load,
    pub(crate) basic: Basic,
}

impl Rule {
    /// For what no route answers: a key is wanted all the same.
    pub(crate) const FALLBACK: Self = Self { access: Access::AnyKey, load: Load::Small, basic: Basic::Ignored };

    /// Whether a request of this method changes nothing.
    fn reads_only(self, method: &Method) -> bool {
        method.is_safe()
            || matches!(self.access, Access::May(Action::Query | Action::Search | Action::EvaluateTruth | Action::DryRun))
    }
}

/// The middleware in front of a handler.
pub(crate) async fn guard(State((app, rule)): State<(App, Rule)>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let (mut response, is_read) = match admit(&app, rule, &mut parts).await {
        Ok(limit) => {
            let (body, inflow) = Inflow::watch(body, limit, app.engine.settings().server.body_idle_timeout);
            let response = run(&app, rule, Request::from_parts(parts, body), &inflow, next).await;
            (response, inflow.ended())
        }
        Err(problem) => {
            let is_read = discard_body(body).await;
            (problem.into_response(), is_read)
        }
    };
    if !is_read {
        // What is left of the body is in the way of the next request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if rule.basic == Basic::Heard {
        response.extensions_mut().insert(Challenge::BASIC);
    }
    response
}

/// Lets the request in, with its caller among its extensions, and says how large its body may be.
async fn admit(app: &App, rule: Rule, parts: &mut Parts) -> Result<u64, Problem> {
    head::check(parts)?;
    if rule.access != Access::Open {
        let request_id = parts.extensions.get::<RequestId>().cloned().unwrap_or_else(RequestId::fresh);
        if !app.engine.settings().auth.enabled {
            refuse_foreigners(app, parts, &request_id).await?;
        }
        let key = match credentials::presented(&parts.headers, rule.basic) {
            Ok(key) => key,
            Err(_) if !app.engine.settings().auth.enabled => None,
            Err(problem) => {
                app.engine.journal_unreadable_key(request_id).await;
                return Err(problem);
            }
        };
        let profile = header_value::<ProfileId>(&parts.headers, &PROFILE);
        let named = profile.as_ref().ok().and_then(Option::as_ref);
        let caller = app.engine.admit(key.as_deref(), named, request_id).await?;
        // Who has no key learns only that.
        profile?;
        if let Access::May(action) = rule.access {
            app.engine.require(&caller, action).await?;
        }
        if app.engine.is_reader() && !rule.reads_only(&parts.method) {
            return Err(Problem::new(Code::ReadOnly, "this host only reads; another one writes to this storage"));
        }
        parts.extensions.insert(caller);
    }
    let settings = app.engine.settings();
    let limit = match rule.load {
        Load::Small | Load::Work => u64::try_from(settings.server.max_json_bytes).unwrap_or(u64::MAX),
        Load::File => settings.server.max_body_bytes,
        Load::Component => u64::try_from(settings.plugins.max_component_bytes).unwrap_or(u64::MAX),
    };
    match declared_length(&parts.headers) {
        Some(length) if length > limit => Err(Cut::TooLarge { limit }.into()),
        _ => Ok(limit),
    }
}

/// Without keys the machine's own users are trusted, but not the web pages that they open. A browser lets those send what changes
/// the lake, and says where they come from; and it lets them read where they were served under a name that now points here.
async fn refuse_foreigners(app: &App, parts: &Parts, request_id: &RequestId) -> Result<(), Problem> {
    let allowed = &app.engine.settings().server.cors_origins;
    let is_read = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let told = if origin::is_foreign_host(parts, allowed) {
        "while keys are switched off, only requests to this machine itself or to a host of `cors_origins` are answered"
    } else if !is_read && origin::is_foreign(&parts.headers, allowed) {
        "a web page of an origin that is not in `cors_origins` may change nothing while keys are switched off"
    } else {
        return Ok(());
    };
    app.engine.journal_foreign_page(request_id.clone()).await;
    Err(Problem::new(Code::Forbidden, told))
}

async fn run(app: &App, rule: Rule, request: Request, inflow: &Inflow, next: Next) -> Response {
    let reads_only = rule.reads_only(request.method());
    let response = match rule.load {
        Load::Small => match tokio::time::timeout(app.engine.settings().server.request_timeout, next.run(request)).await {
            Ok(response) => response,
            // Handlers begin when they have their body.
            Err(_) if inflow.is_arriving() => Problem::from(Cut::TooSlow).into_response(),
            Err(_) if reads_only => {
                Problem::new(Code::Busy, "the answer did not begin within the server's request timeout").into_response()
            }
            Err(_) => Problem::new(
                Code::OutcomeUnknown,
                "the work did not finish within the server's request timeout and goes on; look at the result before you repeat it",
            )
            .into_response(),
        },
        Load::File | Load::Component | Load::Work => next.run(request).await,
    };
    // Whatever a reader of the body made of its end, the caller learns why it was cut.
    match inflow.cut() {
        Some(cut) if !response.status().is_success() => Problem::from(cut).into_response(),
        _ => response,
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
