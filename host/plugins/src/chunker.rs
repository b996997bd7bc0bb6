//! The typed face of `chunker`: documents in, spans out.
//!
//! **Invariant**: a span that comes out lies inside its document, between two characters; there are spans of every document that was
//! asked for, or none at all.

use std::{sync::Arc, time::Instant};

use arrow::array::{ArrayRef, AsArray, StringArray};

use crate::{
    PluginError, Span, Spans,
    column::Column,
    error::VersionedName,
    opened::{Opened, Slot},
    rule::Rule,
    wit::exports::lakehouse::plugin::chunker::Guest,
};

/// What one call cuts at most: a call is bounded in time as well as in memory.
const CALL_BYTES: usize = 1 << 20;

/// A chunker of one request, on an instance of its own.
#[derive(Debug)]
pub struct Chunker {
    rule: Rule,
    slot: Arc<Slot<Guest>>,
}

impl Chunker {
    /// Opens the rule once, so that a bad configuration shows now.
    pub(crate) async fn open(rule: Rule) -> Result<Self, PluginError> {
        Ok(Self { slot: Slot::opened(&rule).await?, rule })
    }

    /// The component behind it.
    pub fn plugin(&self) -> &VersionedName {
        &self.rule.version.id
    }

    /// Cuts documents; a null one has no spans. Rows of the answer are rows of `documents`. In as many calls as it takes to keep each
    /// within a part of the guest's memory. May be awaited on any runtime; the component runs on the CPU runtime.
    ///
    /// # Errors
    /// Whatever the component does wrong, [`PluginError::Busy`] when the pool stays full. Nothing of the documents is in the error;
    /// the next call runs on a fresh instance.
    pub async fn chunk(&mut self, documents: &StringArray) -> Result<Spans, PluginError> {
        let column = Column::of(&(Arc::new(documents.clone()) as ArrayRef))?;
        let (rule, slot) = (self.rule.clone(), Arc::clone(&self.slot));
        self.rule
            .on_cpu(async move {
                let (mut spans, mut first_row) = (Spans::default(), 0);
                for part in column.parts(rule.call_bytes().min(CALL_BYTES), usize::MAX) {
                    let mut opened = slot.take_or_open(&rule).await?;
                    spans.append(opened.chunk(&rule, &part).await?, first_row);
                    slot.keep(&rule, opened);
                    rule.check_output((spans.len() * size_of::<Span>()) as u64)?;
                    first_row += part.len();
                }
                Ok(spans)
            })
            .await
    }
}

impl Opened<Guest> {
    /// `documents` are text.
    pub(crate) async fn chunk(&mut self, rule: &Rule, documents: &Column) -> Result<Spans, PluginError> {
        let begun = Instant::now();
        let answer = self.try_chunk(rule, documents).await;
        self.count(rule, documents.len(), begun, &answer);
        answer
    }

    async fn try_chunk(&mut self, rule: &Rule, documents: &Column) -> Result<Spans, PluginError> {
        let Self { instance, guest, resource } = self;
        let watch = instance.begin();
        let call = watch.over(guest.rule().call_chunk(&mut instance.store, *resource, documents.as_param())).await;
        let answer = instance.end(call)?.map_err(|said| rule.explain_call(said, "these documents"))?;
        Spans::accept(answer, documents.array().as_string()).map_err(|lie| rule.lied(lie))
    }
}
