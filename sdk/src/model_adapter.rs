//! Rules that speak a model provider's protocol.
//!
//! **Invariant**: no I/O and no secret: an adapter turns questions into requests and responses into answers, the host does the rest.

use crate::{
    Config, Error,
    chat::{Capabilities, ChatEvent, ChatOutcome, ChatRequest, EmbedOutcome, EmbedRequest, HttpRequest, HttpResponse},
    config,
};

/// An adapter for one provider's protocol.
///
/// What the provider refuses is an answer ([`ChatOutcome::Refused`]); an [`Error`] is for what the adapter itself cannot do.
///
/// ```
/// use lakehouse_sdk::{Config, Error, ModelAdapter, chat::*, export_model_adapter, json, testing};
///
/// /// Posts the last message as text, takes the body for the answer.
/// #[derive(Config)]
/// struct Echo {}
///
/// impl ModelAdapter for Echo {
///     fn capabilities(&self) -> Capabilities {
///         Capabilities { chat: true, ..Capabilities::default() }
///     }
///
///     fn chat(&self, request: &ChatRequest) -> Result<HttpRequest, Error> {
///         let last = request.messages.last().ok_or_else(|| Error::input("nothing is asked"))?;
///         Ok(HttpRequest::json("/echo", "text/plain", &json!({ "say": last.text })))
///     }
///
///     fn parse_chat(&self, response: &HttpResponse) -> Result<ChatOutcome, Error> {
///         let text = String::from_utf8_lossy(&response.body).into_owned();
///         Ok(ChatOutcome::Answer(ChatAnswer { text, finish_reason: FinishReason::Stop, usage: None, model: None }))
///     }
/// }
///
/// export_model_adapter!(Echo);
///
/// # fn main() -> Result<(), Error> {
/// let request = testing::chat(&Echo::open("{}")?, &testing::question("m", "hello"))?;
/// assert_eq!(request.body, br#"{"say":"hello"}"#);
/// # Ok(())
/// # }
/// ```
pub trait ModelAdapter: Config {
    /// What the adapter can do under its configuration.
    fn capabilities(&self) -> Capabilities;

    /// The request for a chat.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what the protocol cannot express.
    fn chat(&self, request: &ChatRequest) -> Result<HttpRequest, Error>;

    /// The whole response to a chat without `stream`, or one with a status of 300 or above to any chat.
    ///
    /// # Errors
    /// The adapter's own trouble; an unreadable response is a [`Refusal`](crate::chat::Refusal).
    fn parse_chat(&self, response: &HttpResponse) -> Result<ChatOutcome, Error>;

    /// A reader for the response to a chat with `stream`, one for each response. Without an override there is none.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when answers do not come in pieces.
    fn open_stream(&self) -> Result<Box<dyn ChatStream>, Error> {
        Err(Error::Unsupported("answers in pieces".into()))
    }

    /// The request for embeddings. Without an override there are none.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    fn embed(&self, request: &EmbedRequest) -> Result<HttpRequest, Error> {
        let _ = request;
        Err(Error::Unsupported("embeddings".into()))
    }

    /// The response to a request for embeddings.
    ///
    /// # Errors
    /// As [`ModelAdapter::parse_chat`].
    fn parse_embed(&self, response: &HttpResponse) -> Result<EmbedOutcome, Error> {
        let _ = response;
        Err(Error::Unsupported("embeddings".into()))
    }

    config::opening!();
}

/// Reads one response as it arrives, cut anywhere.
pub trait ChatStream {
    /// The next bytes of the body.
    ///
    /// # Errors
    /// The adapter's own trouble; what the provider does wrong is [`ChatEvent::Refused`].
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<ChatEvent>, Error>;

    /// The body has ended; what is left to say. Nothing is called after it.
    ///
    /// # Errors
    /// As [`ChatStream::push`].
    fn finish(&mut self) -> Result<Vec<ChatEvent>, Error>;
}
