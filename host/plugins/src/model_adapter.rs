//! The typed face of `model-adapter`: questions to HTTP requests, HTTP responses to answers.
//!
//! **Invariant**: a request that comes out has passed every check of [`request`]: it stays below the provider's address and carries
//! no header that the host sets. No component sees a secret or opens a connection.

mod answer; // what came out, checked
mod request; // what may be sent
mod stream; // an answer in pieces

use std::{sync::Arc, time::Instant};

use crate::{
    Capabilities, ChatOutcome, ChatRequest, EmbedOutcome, EmbedRequest, HttpRequest, HttpResponse, PluginError,
    error::VersionedName,
    opened::{Opened, Slot},
    rule::Rule,
    wit::exports::lakehouse::plugin::model_adapter::{self as wit, Guest},
};

pub use stream::ChatStream;
pub(crate) use stream::Reader;

/// What a component is asked for here, as its errors name it.
const THIS_REQUEST: &str = "this request";
const THIS_RESPONSE: &str = "this response";

/// An adapter of one call to a provider: the request, then its response. While it waits for the response it holds no place that
/// others wait for.
#[derive(Debug)]
pub struct ModelAdapter {
    rule: Rule,
    slot: Arc<Slot<Guest>>,
}

/// One call on an instance, on the CPU runtime; the instance is kept when its answer was honest.
macro_rules! call {
    ($self:ident.$method:ident($($argument:ident),*)) => {{
        let (rule, slot) = ($self.rule.clone(), Arc::clone(&$self.slot));
        $self
            .rule
            .on_cpu(async move {
                let mut opened = slot.take_or_open(&rule).await?;
                let answer = opened.$method(&rule, $($argument),*).await?;
                slot.keep(&rule, opened);
                Ok(answer)
            })
            .await
    }};
}

impl ModelAdapter {
    /// Opens the rule once, so that a bad configuration shows now.
    pub(crate) async fn open(rule: Rule) -> Result<Self, PluginError> {
        Ok(Self { slot: Slot::opened(&rule).await?, rule })
    }

    /// The component behind it.
    pub fn plugin(&self) -> &VersionedName {
        &self.rule.version.id
    }

    /// What the adapter can do.
    ///
    /// # Errors
    /// Whatever the component does wrong; the next call runs on a fresh instance. As all functions here, it may be awaited on any
    /// runtime; the component runs on the CPU runtime.
    pub async fn capabilities(&mut self) -> Result<Capabilities, PluginError> {
        call!(self.capabilities())
    }

    /// The request for a chat.
    ///
    /// # Errors
    /// [`PluginError::Lied`] when the request must not be sent, else as [`Self::capabilities`].
    pub async fn chat(&mut self, request: ChatRequest) -> Result<HttpRequest, PluginError> {
        call!(self.chat(request))
    }

    /// What a whole response says.
    ///
    /// # Errors
    /// As [`Self::capabilities`]. That the provider refuses is no error.
    pub async fn parse_chat(&mut self, response: HttpResponse) -> Result<ChatOutcome, PluginError> {
        call!(self.parse_chat(response))
    }

    /// The request for embeddings.
    ///
    /// # Errors
    /// As [`Self::chat`].
    pub async fn embed(&mut self, request: EmbedRequest) -> Result<HttpRequest, PluginError> {
        call!(self.embed(request))
    }

    /// The vectors of a response to a request for `texts` embeddings.
    ///
    /// # Errors
    /// [`PluginError::Lied`] when there are not so many, or their numbers are not finite, else as [`Self::parse_chat`].
    pub async fn parse_embed(&mut self, response: HttpResponse, texts: usize) -> Result<EmbedOutcome, PluginError> {
        call!(self.parse_embed(response, texts))
    }

    /// Reads the one response that arrives in pieces. The instance goes with the stream, and holds its place until it ends.
    ///
    /// # Errors
    /// As [`Self::capabilities`].
    pub async fn into_stream(self) -> Result<ChatStream, PluginError> {
        ChatStream::open(self.rule, &self.slot).await
    }
}

/// One exchange with the instance: arms the deadline, calls, counts, and hands the answer to `$check`.
macro_rules! exchange {
    ($opened:ident, $rule:ident, $doing:expr, |$guest:ident, $store:ident, $resource:ident| $call:expr, $check:expr) => {{
        let begun = Instant::now();
        let watch = $opened.instance.begin();
        let ($guest, $store, $resource) = (&$opened.guest, &mut $opened.instance.store, $opened.resource);
        let called = watch.over($call).await;
        let answer = $opened.instance.end(called).and_then(|answer| {
            let answer = answer.map_err(|said| $rule.explain_call(said, $doing))?;
            $check(answer).map_err(|lie| $rule.lied(lie))
        });
        $opened.count($rule, 1, begun, &answer);
        answer
    }};
}
use exchange;

impl Opened<Guest> {
    pub(crate) async fn capabilities(&mut self, rule: &Rule) -> Result<Capabilities, PluginError> {
        let begun = Instant::now();
        let Self { instance, guest, resource } = self;
        let watch = instance.begin();
        let call = watch.over(guest.adapter().call_capabilities(&mut instance.store, *resource)).await;
        let answer = instance.end(call).map(Into::into);
        self.count(rule, 0, begun, &answer);
        answer
    }

    pub(crate) async fn chat(&mut self, rule: &Rule, request: ChatRequest) -> Result<HttpRequest, PluginError> {
        let messages: Vec<_> = request.messages.iter().map(request::message).collect();
        let stop: Vec<&str> = request.stop.iter().map(String::as_str).collect();
        let asked = wit::ChatRequest {
            model: &request.model,
            messages: &messages,
            temperature: request.temperature,
            max_tokens: request.max_tokens,
            stop: &stop,
            stream: request.stream,
            think: request.think,
        };
        exchange!(
            self,
            rule,
            THIS_REQUEST,
            |guest, store, resource| guest.adapter().call_chat(store, resource, asked),
            request::accept
        )
    }

    pub(crate) async fn parse_chat(&mut self, rule: &Rule, response: HttpResponse) -> Result<ChatOutcome, PluginError> {
        let headers = request::headers(&response);
        let asked = wit::HttpResponse { status: response.status, headers: &headers, body: &response.body };
        exchange!(
            self,
            rule,
            THIS_RESPONSE,
            |guest, store, resource| guest.adapter().call_parse_chat(store, resource, asked),
            answer::chat
        )
    }

    pub(crate) async fn embed(&mut self, rule: &Rule, request: EmbedRequest) -> Result<HttpRequest, PluginError> {
        let texts: Vec<&str> = request.texts.iter().map(String::as_str).collect();
        let asked = wit::EmbedRequest { model: &request.model, texts: &texts, dimensions: request.dimensions };
        exchange!(
            self,
            rule,
            THIS_REQUEST,
            |guest, store, resource| guest.adapter().call_embed(store, resource, asked),
            request::accept
        )
    }

    pub(crate) async fn parse_embed(
        &mut self,
        rule: &Rule,
        response: HttpResponse,
        texts: usize,
    ) -> Result<EmbedOutcome, PluginError> {
        let headers = request::headers(&response);
        let asked = wit::HttpResponse { status: response.status, headers: &headers, body: &response.body };
        exchange!(
            self,
            rule,
            THIS_RESPONSE,
            |guest, store, resource| guest.adapter().call_parse_embed(store, resource, asked),
            |outcome| answer::embeddings(outcome, texts)
        )
    }
}
