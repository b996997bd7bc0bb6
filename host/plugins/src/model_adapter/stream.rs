//! An answer that arrives in pieces.
//!
//! **Invariant**: one instance reads one response from its first byte to its last, and no other.

use std::time::Instant;

use bytes::Bytes;
use wasmtime::component::ResourceAny;

use super::{THIS_RESPONSE, answer, exchange};
use crate::{
    ChatEvent, PluginError,
    error::VersionedName,
    opened::{Opened, Slot},
    rule::Rule,
    wit::exports::lakehouse::plugin::model_adapter::Guest,
};

/// Reads one streamed response.
#[derive(Debug)]
pub struct ChatStream {
    rule: Rule,
    /// Nothing after a call that failed.
    reader: Option<Reader>,
}

/// The instance with its open stream.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) opened: Opened<Guest>,
    stream: ResourceAny,
}

impl ChatStream {
    pub(super) async fn open(rule: Rule, slot: &Slot<Guest>) -> Result<Self, PluginError> {
        let (opening, spare) = (rule.clone(), slot.take());
        let reader = rule
            .on_cpu(async move {
                let opened = match spare {
                    Some(opened) => opened,
                    None => Opened::open(&opening).await?,
                };
                Reader::open(&opening, opened).await
            })
            .await?;
        Ok(Self { rule, reader: Some(reader) })
    }

    /// The component behind it.
    pub fn plugin(&self) -> &VersionedName {
        &self.rule.version.id
    }

    /// What the next bytes of the body say.
    ///
    /// # Errors
    /// Whatever the component does wrong; the stream cannot be read on then.
    pub async fn push(&mut self, bytes: Bytes) -> Result<Vec<ChatEvent>, PluginError> {
        let (rule, mut reader) = (self.rule.clone(), self.take()?);
        let read = self.rule.on_cpu(async move { Ok((reader.push(&rule, &bytes).await?, reader)) }).await;
        let (events, reader) = read?;
        self.reader = Some(reader);
        Ok(events)
    }

    /// What is left to say when the body has ended.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub async fn finish(mut self) -> Result<Vec<ChatEvent>, PluginError> {
        let (rule, mut reader) = (self.rule.clone(), self.take()?);
        self.rule.on_cpu(async move { reader.finish(&rule).await }).await
    }

    fn take(&mut self) -> Result<Reader, PluginError> {
        self.reader.take().ok_or_else(|| PluginError::host("a stream that has failed is read on", "its instance is gone"))
    }
}

impl Reader {
    pub(crate) async fn open(rule: &Rule, mut opened: Opened<Guest>) -> Result<Self, PluginError> {
        let stream = exchange!(
            opened,
            rule,
            "answers in pieces",
            |guest, store, resource| guest.adapter().call_open_stream(store, resource),
            Ok
        )?;
        Ok(Self { opened, stream })
    }

    pub(crate) async fn push(&mut self, rule: &Rule, bytes: &[u8]) -> Result<Vec<ChatEvent>, PluginError> {
        let (opened, stream) = (&mut self.opened, self.stream);
        exchange!(
            opened,
            rule,
            THIS_RESPONSE,
            |guest, store, _adapter| guest.chat_stream().call_push(store, stream, bytes),
            answer::events
        )
    }

    pub(crate) async fn finish(&mut self, rule: &Rule) -> Result<Vec<ChatEvent>, PluginError> {
        let (opened, stream) = (&mut self.opened, self.stream);
        exchange!(
            opened,
            rule,
            THIS_RESPONSE,
            |guest, store, _adapter| guest.chat_stream().call_finish(store, stream),
            answer::events
        )
    }
}
