//! The journal: who did what, when, under which key.

use std::collections::BTreeMap;

use axum::extract::State;
use lakehouse_engine::{Action, Event, EventFilter, EventKind, EventOutcome, OWN_EVENTS_BACK};
use lakehouse_types::{Actor, Code, DatasetName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::paging;
use crate::{
    answer::{Answer, Outcome},
    app::App,
    problem::Problem,
    request::{Params, Who},
    route::{Access, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_list_events, list_events, Access::May(Action::ReadOwnJournal)),
        Route::new(__path_stats, stats, Access::May(Action::ReadOwnJournal)),
    ]
}

/// Which events to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventParams {
    /// Not before this time (RFC 3339).
    since: Option<String>,
    /// Before this time (RFC 3339).
    until: Option<String>,
    #[param(value_type = Option<String>)]
    actor: Option<Actor>,
    #[param(value_type = Option<String>)]
    dataset: Option<DatasetName>,
    /// For example `ingest`, `tombstone`, `plugin_push`.
    kind: Option<String>,
    /// The `next` of the page before: a sequence number.
    after: Option<u64>,
    /// 1 to 1000; 100 when absent.
    limit: Option<usize>,
    /// Whether each event shows what its hash is computed from.
    #[serde(default)]
    proof: bool,
}

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
struct EventBody {
    seq: u64,
    at: String,
    kind: String,
    actor: String,
    role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset: Option<String>,
    subject: String,
    details: Value,
    /// `done`, `denied` or `refused`.
    #[schema(value_type = String)]
    outcome: EventOutcome,
    /// The chained hash up to and with this event.
    hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<ProofBody>,
}

/// What an event's `hash` is computed from: `commitment` is SHA-256 of the texts `salt` and `payload`, one after the other; `hash` is
/// SHA-256 of the bytes of `previous`, `seq` as eight bytes, the highest first, and the bytes of `commitment`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventProof)]
struct ProofBody {
    /// The hash of the event before; 64 zeros before the first.
    previous: String,
    commitment: String,
    salt: String,
    /// The event as it was sealed: JSON, to be taken as it is.
    payload: String,
}

impl EventBody {
    fn of(event: Event, with_proof: bool) -> Self {
        let proof = event.proof.filter(|_| with_proof).map(|proof| ProofBody {
            previous: proof.previous.to_string(),
            commitment: proof.commitment.to_string(),
            salt: proof.salt.into(),
            payload: proof.payload.into(),
        });
        Self {
            seq: event.seq,
            at: event.at.to_rfc3339(),
            kind: event.kind.to_string(),
            actor: event.actor.to_string(),
            role: event.role.to_string(),
            profile: event.profile.map(|profile| profile.to_string()),
            request_id: event.request_id.to_string(),
            dataset: event.dataset.map(|dataset| dataset.to_string()),
            subject: event.subject,
            details: event.details,
            outcome: event.outcome,
            hash: event.digest.map(|digest| digest.to_string()).unwrap_or_default(),
            proof,
        }
    }
}

/// A page of events, in order.
#[derive(Debug, Serialize, ToSchema)]
struct Events {
    events: Vec<EventBody>,
    /// The cursor of the next page, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// Lists events in order; writers and readers see their own.
///
/// The server checks the chain of every event that it looks through, and answers `corrupt` where it is broken or cut off: who reads all
/// pages has had the whole journal checked. With `proof=true` anybody can check it without trusting the server.
#[utoipa::path(get, path = "/journal/events", tag = "journal", params(EventParams),
    responses((status = 200, description = "A page.", body = Events)))]
async fn list_events(State(app): State<App>, Who(caller): Who, Params(params): Params<EventParams>) -> Outcome<Events> {
    let time = |name: &str, text: Option<&str>| {
        let parse = |text: &str| {
            chrono::DateTime::parse_from_rfc3339(text)
                .map(|at| at.to_utc())
                .map_err(|_| Problem::new(Code::InvalidParameter, format!("`{name}` must be a time like 2026-01-31T12:00:00Z")))
        };
        text.map(parse).transpose()
    };
    let filter = EventFilter {
        since: time("since", params.since.as_deref())?,
        until: time("until", params.until.as_deref())?,
        actor: params.actor,
        dataset: params.dataset,
        kind: params.kind.as_deref().map(known_kind).transpose()?,
    };
    let page = app.engine.events(&caller, filter, params.after, paging::limit(params.limit)).await?;
    let events = page.events.into_iter().map(|event| EventBody::of(event, params.proof)).collect();
    Ok(Answer::ok(Events { events, next: page.next }))
}

fn known_kind(text: &str) -> Result<EventKind, Problem> {
    text.parse().map_err(|_| {
        let known: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        Problem::new(Code::InvalidParameter, format!("`kind` is one of {}", known.join(", ")))
    })
}

/// How many events there are, of those that the key may read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JournalStats)]
struct StatsBody {
    total_events_created: u64,
    by_kind: BTreeMap<String, u64>,
    /// The chained hash of the newest event; shown to admins and operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<String>,
    /// Present when older events were left out: only so many of the journal's newest events were looked through for the key's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    counted_of_newest: Option<u64>,
}

/// Counts events; writers and readers have their own counted.
#[utoipa::path(get, path = "/journal/stats", tag = "journal", responses((status = 200, description = "Counts.", body = StatsBody)))]
async fn stats(State(app): State<App>, Who(caller): Who) -> Outcome<StatsBody> {
    let stats = app.engine.journal_stats(&caller).await?;
    Ok(Answer::ok(StatsBody {
        total_events_created: stats.total_events_created,
        by_kind: stats.by_kind.into_iter().map(|(kind, count)| (kind.to_string(), count)).collect(),
        head: stats.head.map(|head| head.to_string()),
        counted_of_newest: stats.is_recent_only.then_some(OWN_EVENTS_BACK),
    }))
}
