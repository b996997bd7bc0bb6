//! Questions as the provider wants them.
//!
//! **Invariant**: what the caller left open is not in the body, so that the provider's default holds.

use lakehouse_sdk::chat::{ChatRequest, EmbedRequest, Message, Role};
use lakehouse_sdk::{Error, Map, Value, json};

use crate::{MaxTokens, OpenAi, Thinking};

pub(crate) fn chat(adapter: &OpenAi, request: &ChatRequest) -> Result<Value, Error> {
    if request.messages.is_empty() {
        return Err(Error::input("a chat has at least one message"));
    }
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    set("model", request.model.as_str().into());
    set("messages", request.messages.iter().map(message).collect());
    if let Some(temperature) = request.temperature {
        set("temperature", temperature.into());
    }
    if let Some(max_tokens) = request.max_tokens {
        let name = match adapter.max_tokens_field {
            MaxTokens::MaxTokens => "max_tokens",
            MaxTokens::MaxCompletionTokens => "max_completion_tokens",
        };
        set(name, max_tokens.into());
    }
    if !request.stop.is_empty() {
        set("stop", request.stop.as_slice().into());
    }
    if request.stream {
        set("stream", true.into());
        if adapter.stream_usage {
            set("stream_options", json!({ "include_usage": true }));
        }
    }
    match (request.think, adapter.thinking) {
        (None, _) | (_, Thinking::None) => {}
        (Some(think), Thinking::ReasoningEffort) => set("reasoning_effort", if think { "medium" } else { "none" }.into()),
        (Some(think), Thinking::ChatTemplate) => set("chat_template_kwargs", json!({ "enable_thinking": think })),
    }
    Ok(Value::Object(body))
}

/// A tool's answer goes as what the user says: the protocol wants it only behind the model's own call of that tool, and calls are not
/// carried here.
fn message(message: &Message) -> Value {
    let Message { role, text, name } = message;
    match (role, name) {
        (Role::System, _) => json!({ "role": "system", "content": text }),
        (Role::User, _) => json!({ "role": "user", "content": text }),
        (Role::Assistant, _) => json!({ "role": "assistant", "content": text }),
        (Role::Tool, Some(name)) => json!({ "role": "user", "content": format!("Result of the tool {name}:\n{text}") }),
        (Role::Tool, None) => json!({ "role": "user", "content": format!("Result of a tool:\n{text}") }),
    }
}

pub(crate) fn embed(request: &EmbedRequest) -> Value {
    let mut body = json!({ "model": request.model, "input": request.texts, "encoding_format": "float" });
    if let Some(dimensions) = request.dimensions {
        body["dimensions"] = dimensions.into();
    }
    body
}
