//! The typed face of `condition`: JSON contexts in, verdicts out.
//!
//! **Invariant**: one verdict for each context, or none at all.

use std::time::Instant;

use serde_json::Value;

use crate::{
    GuestMessage, PluginError,
    error::{Lie, VersionedName},
    opened::Opened,
    rule::Rule,
    wit::{
        exports::lakehouse::plugin::condition::{Guest, Verdict as Answer},
        lakehouse::plugin::types::VarlenParam,
    },
};

/// What a condition says of one context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Holds,
    /// Why not, in the component's words: bounded, escaped. Its author was told not to repeat values.
    Fails(String),
}

/// A condition of one request.
#[derive(Debug)]
pub struct Condition {
    rule: Rule,
    opened: Option<Opened<Guest>>,
}

impl Condition {
    pub(crate) async fn open(rule: Rule) -> Result<Self, PluginError> {
        let opening = rule.clone();
        let opened = rule.on_cpu(async move { Opened::open(&opening).await }).await?;
        Ok(Self { rule, opened: Some(opened) })
    }

    /// The component behind it.
    pub fn plugin(&self) -> &VersionedName {
        &self.rule.version.id
    }

    /// A verdict for each context, in order. May be awaited on any runtime; the component runs on the CPU runtime.
    ///
    /// # Errors
    /// Whatever the component does wrong; the next call runs on a fresh instance.
    pub async fn evaluate(&mut self, contexts: &[Value]) -> Result<Vec<Verdict>, PluginError> {
        let contexts = Contexts::of(contexts)?;
        let opened = self.opened.take();
        let rule = self.rule.clone();
        let (verdicts, opened) = self
            .rule
            .on_cpu(async move {
                let mut opened = match opened.filter(|opened| opened.instance.is_alive()) {
                    Some(opened) => opened,
                    None => Opened::open(&rule).await?,
                };
                let verdicts = opened.evaluate(&rule, &contexts).await?;
                Ok((verdicts, opened))
            })
            .await?;
        self.opened = Some(opened);
        Ok(verdicts)
    }
}

/// JSON texts in one buffer.
pub(crate) struct Contexts {
    offsets: Vec<i32>,
    data: Vec<u8>,
}

impl Contexts {
    pub(crate) fn of(contexts: &[Value]) -> Result<Self, PluginError> {
        let (mut offsets, mut data) = (vec![0], Vec::new());
        for context in contexts {
            serde_json::to_writer(&mut data, context).map_err(|error| PluginError::host("writing a context", error))?;
            offsets.push(i32::try_from(data.len()).map_err(|_| PluginError::InputTooLarge { bytes: data.len() })?);
        }
        Ok(Self { offsets, data })
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }
}

impl Opened<Guest> {
    pub(crate) async fn evaluate(&mut self, rule: &Rule, contexts: &Contexts) -> Result<Vec<Verdict>, PluginError> {
        let begun = Instant::now();
        let answer = self.try_evaluate(rule, contexts).await;
        self.count(rule, contexts.len(), begun, &answer);
        answer
    }

    async fn try_evaluate(&mut self, rule: &Rule, contexts: &Contexts) -> Result<Vec<Verdict>, PluginError> {
        let Self { instance, guest, resource } = self;
        let watch = instance.begin();
        let param = VarlenParam { offsets: &contexts.offsets, data: &contexts.data };
        let call = watch.over(guest.rule().call_evaluate(&mut instance.store, *resource, param)).await;
        let answers = instance.end(call)?.map_err(|said| rule.explain_call(said, "these contexts"))?;
        if answers.len() != contexts.len() {
            return Err(rule.lied(Lie::RowCount { expected: contexts.len(), got: answers.len() }));
        }
        Ok(answers
            .into_iter()
            .map(|answer| match answer {
                Answer::Holds => Verdict::Holds,
                Answer::Fails(why) => Verdict::Fails(GuestMessage::new(&why).as_str().to_owned()),
            })
            .collect())
    }
}
