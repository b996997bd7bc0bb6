//! What is said to a model and by it, whatever the provider.
//!
//! **Invariant**: mirrors the records of `model-adapter` in `wit/`; what a component said is in here only after it was checked, with
//! names bounded and escaped. Texts are what the model said, whatever that is.

use crate::{GuestMessage, Vectors};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
}

/// A header: a lower-case name, a value on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    pub value: String,
}

/// What is to be sent to the provider; the base address and the secrets are still missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    pub method: Method,
    /// Begins with one `/` and stays below the base address; may end with a query.
    pub path: String,
    /// None of them identifies, frames or routes.
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
}

/// What came back from the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
}

/// What an adapter can do under its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    pub chat: bool,
    /// Answers of a chat in pieces.
    pub stream: bool,
    pub embed: bool,
    /// [`ChatRequest::think`] has an effect.
    pub think: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    /// What a tool has answered, as text.
    Tool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub text: String,
    /// Which tool answered; only for [`Role::Tool`].
    pub name: Option<String>,
}

/// A question to a model. What is `None` is left to the provider.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The provider's name of the model.
    pub model: String,
    /// In order; at least one.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    /// `max_tokens` or the model's window is used up: the text breaks off.
    Length,
    ContentFilter,
    ToolCalls,
    /// The provider's word for it.
    Other(String),
}

impl FinishReason {
    /// `stop`, `length`, `content_filter`, `tool_calls`, or the provider's own word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::ToolCalls => "tool_calls",
            Self::Other(word) => word,
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatAnswer {
    pub text: String,
    pub finish_reason: FinishReason,
    pub usage: Option<Usage>,
    /// Which model answered.
    pub model: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl RefusalKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::UnknownModel => "unknown_model",
            Self::TooLong => "too_long",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Unreadable => "unreadable",
            Self::Other => "other",
        }
    }
}

/// Why a provider did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    /// In the provider's words, bounded and escaped. They may repeat what was asked.
    pub message: GuestMessage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatOutcome {
    Answer(ChatAnswer),
    Refused(Refusal),
}

/// A piece of a streamed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatEvent {
    /// Follows the text so far.
    Text(String),
    Finished(FinishReason),
    Usage(Usage),
    Model(String),
    Refused(Refusal),
}

/// Texts to embed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedRequest {
    pub model: String,
    pub texts: Vec<String>,
    /// The model's own where there is none.
    pub dimensions: Option<u32>,
}

/// The provider's vectors, one for each text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    pub vectors: Vectors,
    pub usage: Option<Usage>,
    pub model: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum EmbedOutcome {
    Answer(Embeddings),
    Refused(Refusal),
}
