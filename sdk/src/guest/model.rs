//! The glue of model adapters: two resources, and the records of a chat.
//!
//! **Invariant**: every record and case has one counterpart; the conversions move what they hold.

use std::cell::RefCell;

use super::bindings::model_adapter::exports::lakehouse::plugin::model_adapter as wit;
use super::types;
use crate::chat::{
    Capabilities, ChatAnswer, ChatEvent, ChatOutcome, ChatRequest, EmbedOutcome, EmbedRequest, Embeddings, FinishReason, Header,
    HttpRequest, HttpResponse, Message, Method, Refusal, RefusalKind, Role, Usage,
};
use crate::{ChatStream, ModelAdapter};

/// A model adapter behind the component boundary.
#[derive(Debug)]
pub struct ExportedModelAdapter<A>(A);

/// A stream behind the component boundary.
pub struct ExportedStream(RefCell<Box<dyn ChatStream>>);

impl std::fmt::Debug for ExportedStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportedStream").finish_non_exhaustive()
    }
}

impl<A: ModelAdapter + 'static> wit::Guest for ExportedModelAdapter<A> {
    type Adapter = Self;
    type ChatStream = ExportedStream;
}

impl<A: ModelAdapter + 'static> wit::GuestAdapter for ExportedModelAdapter<A> {
    fn open(config: String) -> Result<wit::Adapter, types::Error> {
        Ok(wit::Adapter::new(Self(A::open(&config)?)))
    }

    fn capabilities(&self) -> wit::Capabilities {
        let Capabilities { chat, stream, embed, think } = self.0.capabilities();
        wit::Capabilities { chat, stream, embed, think }
    }

    fn chat(&self, request: wit::ChatRequest) -> Result<wit::HttpRequest, types::Error> {
        Ok(self.0.chat(&request.into())?.into())
    }

    fn parse_chat(&self, response: wit::HttpResponse) -> Result<wit::ChatOutcome, types::Error> {
        Ok(match self.0.parse_chat(&response.into())? {
            ChatOutcome::Answer(answer) => wit::ChatOutcome::Answer(answer.into()),
            ChatOutcome::Refused(refusal) => wit::ChatOutcome::Refused(refusal.into()),
        })
    }

    fn open_stream(&self) -> Result<wit::ChatStream, types::Error> {
        Ok(wit::ChatStream::new(ExportedStream(RefCell::new(self.0.open_stream()?))))
    }

    fn embed(&self, request: wit::EmbedRequest) -> Result<wit::HttpRequest, types::Error> {
        let wit::EmbedRequest { model, texts, dimensions } = request;
        Ok(self.0.embed(&EmbedRequest { model, texts, dimensions })?.into())
    }

    fn parse_embed(&self, response: wit::HttpResponse) -> Result<wit::EmbedOutcome, types::Error> {
        Ok(match self.0.parse_embed(&response.into())? {
            EmbedOutcome::Answer(answer) => wit::EmbedOutcome::Answer(answer.into()),
            EmbedOutcome::Refused(refusal) => wit::EmbedOutcome::Refused(refusal.into()),
        })
    }
}

impl wit::GuestChatStream for ExportedStream {
    fn push(&self, bytes: Vec<u8>) -> Result<Vec<wit::Event>, types::Error> {
        Ok(self.0.borrow_mut().push(&bytes)?.into_iter().map(Into::into).collect())
    }

    fn finish(&self) -> Result<Vec<wit::Event>, types::Error> {
        Ok(self.0.borrow_mut().finish()?.into_iter().map(Into::into).collect())
    }
}

impl From<wit::ChatRequest> for ChatRequest {
    fn from(request: wit::ChatRequest) -> Self {
        let wit::ChatRequest { model, messages, temperature, max_tokens, stop, stream, think } = request;
        let messages = messages.into_iter().map(Into::into).collect();
        Self { model, messages, temperature, max_tokens, stop, stream, think }
    }
}

impl From<wit::Message> for Message {
    fn from(message: wit::Message) -> Self {
        let role = match message.role {
            wit::Role::System => Role::System,
            wit::Role::User => Role::User,
            wit::Role::Assistant => Role::Assistant,
            wit::Role::Tool => Role::Tool,
        };
        Self { role, text: message.text, name: message.name }
    }
}

impl From<HttpRequest> for wit::HttpRequest {
    fn from(request: HttpRequest) -> Self {
        let method = match request.method {
            Method::Get => wit::Method::Get,
            Method::Post => wit::Method::Post,
        };
        let headers = request.headers.into_iter().map(|Header { name, value }| wit::Header { name, value }).collect();
        Self { method, path: request.path, headers, body: request.body }
    }
}

impl From<wit::HttpResponse> for HttpResponse {
    fn from(response: wit::HttpResponse) -> Self {
        let headers = response.headers.into_iter().map(|wit::Header { name, value }| Header { name, value }).collect();
        Self { status: response.status, headers, body: response.body }
    }
}

impl From<ChatAnswer> for wit::ChatAnswer {
    fn from(answer: ChatAnswer) -> Self {
        let ChatAnswer { text, finish_reason, usage, model } = answer;
        Self { text, finish_reason: finish_reason.into(), usage: usage.map(Into::into), model }
    }
}

impl From<Embeddings> for wit::Embeddings {
    fn from(answer: Embeddings) -> Self {
        let Embeddings { dimensions, vectors, usage, model } = answer;
        Self { dimensions, vectors, usage: usage.map(Into::into), model }
    }
}

impl From<Usage> for wit::Usage {
    fn from(Usage { prompt_tokens, completion_tokens }: Usage) -> Self {
        Self { prompt_tokens, completion_tokens }
    }
}

impl From<FinishReason> for wit::FinishReason {
    fn from(reason: FinishReason) -> Self {
        match reason {
            FinishReason::Stop => Self::Stop,
            FinishReason::Length => Self::Length,
            FinishReason::ContentFilter => Self::ContentFilter,
            FinishReason::ToolCalls => Self::ToolCalls,
            FinishReason::Other(text) => Self::Other(text),
        }
    }
}

impl From<Refusal> for wit::Refusal {
    fn from(Refusal { kind, message }: Refusal) -> Self {
        let kind = match kind {
            RefusalKind::InvalidRequest => wit::RefusalKind::InvalidRequest,
            RefusalKind::Unauthorized => wit::RefusalKind::Unauthorized,
            RefusalKind::UnknownModel => wit::RefusalKind::UnknownModel,
            RefusalKind::TooLong => wit::RefusalKind::TooLong,
            RefusalKind::RateLimited => wit::RefusalKind::RateLimited,
            RefusalKind::Unavailable => wit::RefusalKind::Unavailable,
            RefusalKind::Unreadable => wit::RefusalKind::Unreadable,
            RefusalKind::Other => wit::RefusalKind::Other,
        };
        Self { kind, message }
    }
}

impl From<ChatEvent> for wit::Event {
    fn from(event: ChatEvent) -> Self {
        match event {
            ChatEvent::Text(text) => Self::Text(text),
            ChatEvent::Finished(reason) => Self::Finished(reason.into()),
            ChatEvent::Usage(usage) => Self::Usage(usage.into()),
            ChatEvent::Model(model) => Self::Model(model),
            ChatEvent::Refused(refusal) => Self::Refused(refusal.into()),
        }
    }
}
