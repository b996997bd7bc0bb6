//! Streamed responses.
//!
//! **Invariant**: a stream ends in a finish or a refusal, once: one that breaks off without either was not read to its end, and says
//! so.

use lakehouse_sdk::chat::{ChatEvent, FinishReason, Refusal, RefusalKind};
use lakehouse_sdk::{ChatStream, Error, Value, sse::Events};

use crate::read;

/// Reads one event stream.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    events: Events,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    /// The model was told.
    has_model: bool,
    has_finished: bool,
    /// Said why not; nothing follows.
    is_refused: bool,
    /// `[DONE]` was said.
    is_done: bool,
}

impl ChatStream for Reading {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<ChatEvent>, Error> {
        let (mut out, state) = (Vec::new(), &mut self.state);
        let read = self.events.push(bytes, |data| {
            state.read(data, &mut out);
            Ok(())
        });
        if read.is_err() && !state.is_refused {
            state.refuse(read::unreadable("an event is longer than can be held"), &mut out);
        }
        Ok(out)
    }

    fn finish(&mut self) -> Result<Vec<ChatEvent>, Error> {
        let (mut out, state) = (Vec::new(), &mut self.state);
        self.events.rest(|data| {
            state.read(data, &mut out);
            Ok(())
        })?;
        if state.has_finished || state.is_refused {
            return Ok(out);
        }
        if state.is_done {
            out.push(ChatEvent::Finished(FinishReason::Stop));
        } else {
            state.refuse(Refusal::new(RefusalKind::Unavailable, "the stream broke off before the answer's end"), &mut out);
        }
        Ok(out)
    }
}

impl State {
    fn read(&mut self, data: &str, out: &mut Vec<ChatEvent>) {
        if self.is_refused || self.is_done {
            return;
        }
        if data.trim() == "[DONE]" {
            self.is_done = true;
            return;
        }
        let Ok(chunk) = data.parse::<Value>() else {
            return self.refuse(read::unreadable("an event is not JSON"), out);
        };
        if read::is_error(&chunk) {
            return self.refuse(read::refusal(None, Some(&chunk)), out);
        }
        if let Some(model) = read::model(&chunk).filter(|_| !self.has_model) {
            self.has_model = true;
            out.push(ChatEvent::Model(model));
        }
        // The last chunk has usage and no choices; chunks of a warm-up have neither.
        if let Some(choice) = chunk.pointer("/choices/0") {
            if let Some(text) = choice.pointer("/delta/content").and_then(Value::as_str).filter(|text| !text.is_empty()) {
                out.push(ChatEvent::Text(text.to_owned()));
            }
            if let Some(reason) = read::finish_reason(choice).filter(|_| !self.has_finished) {
                self.has_finished = true;
                out.push(ChatEvent::Finished(reason));
            }
        }
        if let Some(usage) = read::usage(&chunk) {
            out.push(ChatEvent::Usage(usage));
        }
    }

    fn refuse(&mut self, refusal: Refusal, out: &mut Vec<ChatEvent>) {
        self.is_refused = true;
        out.push(ChatEvent::Refused(refusal));
    }
}
