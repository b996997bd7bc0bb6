//! A plugin tried on what the caller brings; nothing is stored, and nothing is sent.

use std::collections::BTreeMap;

use axum::extract::State;
use lakehouse_engine::{
    Action, ChatRequest, ChatRole, DryRun, DryRunInput, DryRunReport, EmbedRequest, Header, HttpResponse, Message, RuleKind,
};
use lakehouse_types::{Code, PluginName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    answer::{Answer, Outcome},
    app::App,
    problem::Problem,
    request::{Json, Named, Who},
    route::{Access, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![Route::new(__path_dry_run_plugin, dry_run_plugin, Access::May(Action::DryRun))]
}

/// Sample rows or requests: the one member that fits the kind, for a model adapter a request and perhaps a response.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DryRunInput)]
struct InputBody {
    /// For a redactor: texts, numbers or booleans of one type, and nulls.
    values: Option<Vec<Value>>,
    /// For a condition: JSON objects.
    contexts: Option<Vec<Value>>,
    /// For a chunker: texts and nulls.
    documents: Option<Vec<Option<String>>>,
    /// For an id mapper: row keys, texts or integers, and nulls.
    keys: Option<Vec<Value>>,
    /// For an id mapper, the other way: document ids and nulls.
    doc_ids: Option<Vec<Option<String>>>,
    /// For an embedder.
    texts: Option<Vec<String>>,
    /// For a model adapter.
    chat_request: Option<ChatBody>,
    /// For a model adapter.
    embed_request: Option<EmbedBody>,
    /// What a provider might respond to the request.
    response: Option<ResponseBody>,
}

/// A question to a model; what is absent is left to the provider.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChatRequest)]
struct ChatBody {
    /// The provider's name of the model.
    model: String,
    /// In order; at least one.
    messages: Vec<MessageBody>,
    temperature: Option<f64>,
    max_tokens: Option<u32>,
    /// Texts that end the answer.
    #[serde(default)]
    stop: Vec<String>,
    /// The response comes in pieces.
    #[serde(default)]
    stream: bool,
    /// Whether the model is to think before it answers.
    think: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RoleBody {
    System,
    User,
    Assistant,
    Tool,
}

/// A message of a chat.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChatMessage)]
struct MessageBody {
    role: RoleBody,
    content: String,
    /// Which tool answered; only for `tool`.
    name: Option<String>,
}

/// Texts to embed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EmbedRequest)]
struct EmbedBody {
    model: String,
    texts: Vec<String>,
    dimensions: Option<u32>,
}

/// A response that no provider gave.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CannedResponse)]
struct ResponseBody {
    #[serde(default = "ok")]
    #[schema(minimum = 100, maximum = 599)]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A text as it is, anything else as JSON.
    #[serde(default)]
    body: Value,
}

fn ok() -> u16 {
    200
}

impl From<ChatBody> for ChatRequest {
    fn from(body: ChatBody) -> Self {
        let ChatBody { model, messages, temperature, max_tokens, stop, stream, think } = body;
        let messages = messages.into_iter().map(Message::from).collect();
        Self { model, messages, temperature, max_tokens, stop, stream, think }
    }
}

impl From<MessageBody> for Message {
    fn from(MessageBody { role, content, name }: MessageBody) -> Self {
        let role = match role {
            RoleBody::System => ChatRole::System,
            RoleBody::User => ChatRole::User,
            RoleBody::Assistant => ChatRole::Assistant,
            RoleBody::Tool => ChatRole::Tool,
        };
        Self { role, text: content, name }
    }
}

impl From<EmbedBody> for EmbedRequest {
    fn from(EmbedBody { model, texts, dimensions }: EmbedBody) -> Self {
        Self { model, texts, dimensions }
    }
}

impl From<ResponseBody> for HttpResponse {
    fn from(ResponseBody { status, headers, body }: ResponseBody) -> Self {
        let header = |(name, value): (String, String)| Header { name: name.to_ascii_lowercase(), value };
        let body = match body {
            Value::Null => Vec::new(),
            Value::String(text) => text.into_bytes(),
            other => other.to_string().into_bytes(),
        };
        Self { status, headers: headers.into_iter().map(header).collect(), body }
    }
}

/// What to try.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DryRunBody {
    /// `redactor`, `condition`, `chunker`, `id-mapper`, `embedder` or `model-adapter`.
    #[schema(value_type = String)]
    kind: RuleKind,
    #[serde(default)]
    config: Value,
    /// A version, or `sha256:` and a digest; else the active one.
    version: Option<String>,
    input: InputBody,
}

/// What came out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DryRunReport)]
struct DryRunReportBody {
    name: String,
    version: String,
    /// One for each row: a value; `{holds, why}`; a list of `{start, end, text}`; an id; a vector. For a model adapter one with the
    /// `request` and, given a response, the `answer`, `embeddings`, `events` or why the provider `refused`.
    outputs: Vec<Value>,
    duration_us: u64,
    memory_bytes: u64,
    logs: Vec<String>,
    logs_dropped: u64,
}

impl From<DryRunReport> for DryRunReportBody {
    fn from(report: DryRunReport) -> Self {
        Self {
            name: report.plugin.name.to_string(),
            version: report.plugin.version.into(),
            outputs: report.outputs,
            duration_us: report.duration_us,
            memory_bytes: report.memory_bytes,
            logs: report.logs,
            logs_dropped: report.logs_dropped,
        }
    }
}

/// What each kind takes, as a refusal names it.
const fn members(kind: RuleKind) -> &'static str {
    match kind {
        RuleKind::Redactor => "`input.values`",
        RuleKind::Condition => "`input.contexts`",
        RuleKind::Chunker => "`input.documents`",
        RuleKind::IdMapper => "`input.keys` or `input.doc_ids`",
        RuleKind::Embedder => "`input.texts`",
        RuleKind::ModelAdapter => "`input.chat_request` or `input.embed_request`, and perhaps `input.response`",
    }
}

impl InputBody {
    /// The input, if it is what the kind takes and nothing beside.
    fn of_kind(self, kind: RuleKind) -> Option<DryRunInput> {
        let Self { values, contexts, documents, keys, doc_ids, texts, chat_request, embed_request, response } = self;
        let given = [
            values.is_some(),
            contexts.is_some(),
            documents.is_some(),
            keys.is_some(),
            doc_ids.is_some(),
            texts.is_some(),
            chat_request.is_some(),
            embed_request.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 || (response.is_some() && kind != RuleKind::ModelAdapter) {
            return None;
        }
        let response = response.map(HttpResponse::from);
        match kind {
            RuleKind::Redactor => values.map(DryRunInput::Values),
            RuleKind::Condition => contexts.map(DryRunInput::Contexts),
            RuleKind::Chunker => documents.map(DryRunInput::Documents),
            RuleKind::IdMapper => keys.map(DryRunInput::Keys).or(doc_ids.map(DryRunInput::DocIds)),
            RuleKind::Embedder => texts.map(DryRunInput::Texts),
            RuleKind::ModelAdapter => match (chat_request, embed_request) {
                (Some(request), _) => Some(DryRunInput::Chat(Box::new(request.into()), response)),
                (None, Some(request)) => Some(DryRunInput::Embed(request.into(), response)),
                (None, None) => None,
            },
        }
    }
}

/// Runs a plugin on what the caller brings: rows, or a request and a made-up response. Nothing is stored, nothing is sent.
#[utoipa::path(post, path = "/plugins/{name}/dry-run", tag = "plugins", request_body = DryRunBody,
    params(("name" = String, Path, description = "The plugin.")),
    responses((status = 200, description = "What came out.", body = DryRunReportBody)))]
async fn dry_run_plugin(
    State(app): State<App>,
    Who(caller): Who,
    Named(name): Named<PluginName>,
    Json(body): Json<DryRunBody>,
) -> Outcome<DryRunReportBody> {
    let DryRunBody { kind, config, version, input } = body;
    if input.response.as_ref().is_some_and(|response| !(100..=599).contains(&response.status)) {
        return Err(Problem::new(Code::InvalidBody, "`input.response.status` is a number from 100 to 599"));
    }
    let input = input
        .of_kind(kind)
        .ok_or_else(|| Problem::new(Code::InvalidBody, format!("a dry run of kind `{kind}` takes {}", members(kind))))?;
    let what = DryRun { config, version, input, limits: None };
    Ok(Answer::ok(app.engine.dry_run_plugin(&caller, &name, what).await?.into()))
}
