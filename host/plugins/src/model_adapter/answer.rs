//! What a component read out of a response.
//!
//! **Invariant**: names and refusals are bounded and escaped; vectors are as many as were asked for, of one length, and finite.

use super::wit;
use crate::{
    Capabilities, ChatAnswer, ChatEvent, ChatOutcome, EmbedOutcome, Embeddings, FinishReason, GuestMessage, Refusal, RefusalKind,
    Usage, Vectors, error::Lie, message::escape,
};

/// Longest name of a model or word for an end, bytes.
const MAX_NAME_BYTES: usize = 256;

pub(super) fn chat(outcome: wit::ChatOutcome) -> Result<ChatOutcome, Lie> {
    Ok(match outcome {
        wit::ChatOutcome::Answer(answer) => ChatOutcome::Answer(ChatAnswer {
            text: answer.text,
            finish_reason: answer.finish_reason.into(),
            usage: answer.usage.map(Into::into),
            model: answer.model.map(|model| name(&model)),
        }),
        wit::ChatOutcome::Refused(refusal) => ChatOutcome::Refused(refusal.into()),
    })
}

pub(super) fn embeddings(outcome: wit::EmbedOutcome, texts: usize) -> Result<EmbedOutcome, Lie> {
    Ok(match outcome {
        wit::EmbedOutcome::Answer(answer) => EmbedOutcome::Answer(Embeddings {
            vectors: Vectors::accept(answer.dimensions, answer.vectors, texts)?,
            usage: answer.usage.map(Into::into),
            model: answer.model.map(|model| name(&model)),
        }),
        wit::EmbedOutcome::Refused(refusal) => EmbedOutcome::Refused(refusal.into()),
    })
}

pub(super) fn events(events: Vec<wit::Event>) -> Result<Vec<ChatEvent>, Lie> {
    Ok(events.into_iter().map(Into::into).collect())
}

fn name(text: &str) -> String {
    escape(text, MAX_NAME_BYTES)
}

impl From<wit::Capabilities> for Capabilities {
    fn from(can: wit::Capabilities) -> Self {
        let wit::Capabilities { chat, stream, embed, think } = can;
        Self { chat, stream, embed, think }
    }
}

impl From<wit::Event> for ChatEvent {
    fn from(event: wit::Event) -> Self {
        match event {
            wit::Event::Text(text) => Self::Text(text),
            wit::Event::Finished(reason) => Self::Finished(reason.into()),
            wit::Event::Usage(usage) => Self::Usage(usage.into()),
            wit::Event::Model(model) => Self::Model(name(&model)),
            wit::Event::Refused(refusal) => Self::Refused(refusal.into()),
        }
    }
}

impl From<wit::Usage> for Usage {
    fn from(wit::Usage { prompt_tokens, completion_tokens }: wit::Usage) -> Self {
        Self { prompt_tokens, completion_tokens }
    }
}

impl From<wit::FinishReason> for FinishReason {
    fn from(reason: wit::FinishReason) -> Self {
        match reason {
            wit::FinishReason::Stop => Self::Stop,
            wit::FinishReason::Length => Self::Length,
            wit::FinishReason::ContentFilter => Self::ContentFilter,
            wit::FinishReason::ToolCalls => Self::ToolCalls,
            wit::FinishReason::Other(word) => Self::Other(name(&word)),
        }
    }
}

impl From<wit::Refusal> for Refusal {
    fn from(wit::Refusal { kind, message }: wit::Refusal) -> Self {
        let kind = match kind {
            wit::RefusalKind::InvalidRequest => RefusalKind::InvalidRequest,
            wit::RefusalKind::Unauthorized => RefusalKind::Unauthorized,
            wit::RefusalKind::UnknownModel => RefusalKind::UnknownModel,
            wit::RefusalKind::TooLong => RefusalKind::TooLong,
            wit::RefusalKind::RateLimited => RefusalKind::RateLimited,
            wit::RefusalKind::Unavailable => RefusalKind::Unavailable,
            wit::RefusalKind::Unreadable => RefusalKind::Unreadable,
            wit::RefusalKind::Other => RefusalKind::Other,
        };
        Self { kind, message: GuestMessage::new(&message) }
    }
}
