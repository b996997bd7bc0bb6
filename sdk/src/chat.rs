//! What is said to a model and by it, whatever the provider.
//!
//! **Invariant**: mirrors the records of `model-adapter` in the WIT package one to one, so that nothing is lost at the boundary.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
}

/// A header: a lower-case name, a value on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    pub value: String,
}

/// What the host sends. It adds the provider's base address and the secrets, and refuses headers that are its own
/// (`authorization`, `x-api-key`, `cookie`, `host`, `content-length`, …).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    pub method: Method,
    /// Begins with `/` and is appended to the base address.
    pub path: String,
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// A `POST` of JSON that accepts `accept`.
    pub fn json(path: &str, accept: &str, body: &crate::Value) -> Self {
        let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
        Self {
            method: Method::Post,
            path: path.into(),
            headers: vec![header("content-type", "application/json"), header("accept", accept)],
            body: body.to_string().into_bytes(),
        }
    }
}

/// What came back; header names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    pub status: u16,
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
}

impl HttpResponse {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What an adapter can do under its configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub chat: bool,
    /// Answers of a chat in pieces.
    pub stream: bool,
    pub embed: bool,
    /// [`ChatRequest::think`] has an effect.
    pub think: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    /// What a tool has answered, as text.
    Tool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub text: String,
    /// Which tool answered; only for [`Role::Tool`].
    pub name: Option<String>,
}

/// A question to a model. What is `None` is left to the provider.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// The provider's name of the model.
    pub model: String,
    /// In order; the host sends at least one.
    pub messages: Vec<Message>,
    pub temperature: Option<f64>,
    pub max_tokens: Option<u32>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// The response is to come in pieces.
    pub stream: bool,
    /// Whether the model is to think before it answers.
    pub think: Option<bool>,
}

/// Tokens, as the provider counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    /// `max_tokens` or the model's window is used up: the text breaks off.
    Length,
    ContentFilter,
    ToolCalls,
    Other(String),
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatAnswer {
    pub text: String,
    pub finish_reason: FinishReason,
    pub usage: Option<Usage>,
    /// Which model answered.
    pub model: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request is wrong in itself.
    InvalidRequest,
    Unauthorized,
    UnknownModel,
    /// More text than the model takes.
    TooLong,
    RateLimited,
    /// The provider is in trouble; later it may work.
    Unavailable,
    /// The response is not what the protocol says.
    Unreadable,
    Other,
}

/// Why a provider did not answer. That is an answer of the adapter's, not its failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    /// In the provider's words.
    pub message: String,
}

impl Refusal {
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatOutcome {
    Answer(ChatAnswer),
    Refused(Refusal),
}

/// A piece of a streamed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatEvent {
    /// Follows the text so far.
    Text(String),
    Finished(FinishReason),
    Usage(Usage),
    Model(String),
    Refused(Refusal),
}

/// Texts to embed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedRequest {
    pub model: String,
    pub texts: Vec<String>,
    /// The model's own where there is none.
    pub dimensions: Option<u32>,
}

/// Vectors, one after the other, in the order of the texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    pub dimensions: u32,
    /// All numbers finite.
    pub vectors: Vec<f32>,
    pub usage: Option<Usage>,
    pub model: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum EmbedOutcome {
    Answer(Embeddings),
    Refused(Refusal),
}
