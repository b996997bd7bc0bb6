//! Speaks the protocol of OpenAI and of the many servers that imitate it: chat, whole or streamed, and embeddings.
//!
//! Written after the API reference of `POST /chat/completions` and `POST /embeddings`, with what vLLM, llama.cpp, Ollama, OpenRouter
//! and others do differently: absent usage, integer error codes, errors inside a stream, streams that just end.
//!
//! **Invariant**: no secret is known here; what a provider says that cannot be read is refused as unreadable, never guessed.

mod ask;
mod read;
mod stream;
#[cfg(test)]
mod tests;

use lakehouse_sdk::chat::{Capabilities, ChatOutcome, ChatRequest, EmbedOutcome, EmbedRequest, HttpRequest, HttpResponse};
use lakehouse_sdk::{ChatStream, Config, Error, ModelAdapter, export_model_adapter};

/// Speaks the OpenAI-compatible protocol. Paths follow the provider's base address, which ends in `/v1` for most.
#[derive(Clone, Debug, Config)]
pub struct OpenAi {
    /// Where chats go.
    #[config(default = "/chat/completions".into())]
    pub chat_path: String,
    /// Where texts go that are to be embedded.
    #[config(default = "/embeddings".into())]
    pub embeddings_path: String,
    /// The name of the limit on an answer's tokens; newer models of OpenAI want `max-completion-tokens`.
    #[config(default = MaxTokens::MaxTokens)]
    pub max_tokens_field: MaxTokens,
    /// How thinking is switched on and off.
    #[config(default = Thinking::None)]
    pub thinking: Thinking,
    /// Ask a stream to say at its end how many tokens were used; some servers refuse to be asked.
    #[config(default = true)]
    pub stream_usage: bool,
}

/// Names of the limit on an answer's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Config)]
pub enum MaxTokens {
    MaxTokens,
    MaxCompletionTokens,
}

/// Ways of switching thinking on and off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Config)]
pub enum Thinking {
    /// It cannot be switched: the request says nothing of it.
    None,
    /// `reasoning_effort`: `none` or `medium`, as OpenAI and Ollama have it.
    ReasoningEffort,
    /// `chat_template_kwargs.enable_thinking`, as vLLM and SGLang have it.
    ChatTemplate,
}

impl ModelAdapter for OpenAi {
    fn prepare(&mut self) -> Result<(), Error> {
        for (key, path) in [("chat_path", &self.chat_path), ("embeddings_path", &self.embeddings_path)] {
            if !path.starts_with('/') {
                return Err(Error::InvalidConfig(format!("\"{key}\" must begin with \"/\"")));
            }
        }
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { chat: true, stream: true, embed: true, think: self.thinking != Thinking::None }
    }

    fn chat(&self, request: &ChatRequest) -> Result<HttpRequest, Error> {
        let accept = if request.stream { "text/event-stream" } else { "application/json" };
        Ok(HttpRequest::json(&self.chat_path, accept, &ask::chat(self, request)?))
    }

    fn parse_chat(&self, response: &HttpResponse) -> Result<ChatOutcome, Error> {
        Ok(match read::body(response).and_then(|body| read::answer(&body)) {
            Ok(answer) => ChatOutcome::Answer(answer),
            Err(refusal) => ChatOutcome::Refused(refusal),
        })
    }

    fn open_stream(&self) -> Result<Box<dyn ChatStream>, Error> {
        Ok(Box::new(stream::Reading::default()))
    }

    fn embed(&self, request: &EmbedRequest) -> Result<HttpRequest, Error> {
        Ok(HttpRequest::json(&self.embeddings_path, "application/json", &ask::embed(request)))
    }

    fn parse_embed(&self, response: &HttpResponse) -> Result<EmbedOutcome, Error> {
        Ok(match read::body(response).and_then(|body| read::embeddings(&body)) {
            Ok(embeddings) => EmbedOutcome::Answer(embeddings),
            Err(refusal) => EmbedOutcome::Refused(refusal),
        })
    }
}

export_model_adapter!(OpenAi);
