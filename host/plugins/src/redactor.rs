//! The typed face of `redactor`: columns in, columns out.
//!
//! **Invariant**: a column that comes out has passed every check of [`crate::answer`]; when anything goes wrong there is no
//! column, and the instance is gone.

use std::{collections::HashMap, sync::Arc, time::Instant};

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::concat,
    datatypes::DataType,
};
use parking_lot::Mutex;

use crate::{
    PluginError,
    answer::{Asked, accept, kind_name},
    column::{Column, called_as, empty},
    distinct::Distinct,
    error::{Lie, VersionedName},
    opened::{Opened, Slot},
    rule::Rule,
    wit::exports::lakehouse::plugin::redactor::Guest,
};

/// A redactor of one request: its component, configuration and limits are fixed. Shared by the partitions of a query, each of
/// which drives its own [`Redactor`].
#[derive(Debug)]
pub struct RedactorRule {
    rule: Rule,
    output_types: Mutex<HashMap<DataType, DataType>>,
    /// The instance that proved the configuration, for whoever asks first.
    spare: Arc<Slot<Guest>>,
}

impl RedactorRule {
    /// Opens the rule once, so that a bad configuration shows now.
    pub(crate) async fn open(rule: Rule) -> Result<Self, PluginError> {
        let spare = Slot::opened(&rule).await?;
        Ok(Self { rule, output_types: Mutex::default(), spare })
    }

    /// The component behind the rule.
    pub fn plugin(&self) -> &VersionedName {
        &self.rule.version.id
    }

    /// The type of the redacted column for an `input` of this type; the rule is asked with a column of no rows.
    ///
    /// # Errors
    /// When the rule does not support the type, or fails.
    pub async fn output_type(&self, input: &DataType) -> Result<DataType, PluginError> {
        let called = called_as(input)?;
        if let Some(known) = self.output_types.lock().get(&called) {
            return Ok(known.clone());
        }
        let spare = self.spare.take();
        let (rule, asked) = (self.rule.clone(), called.clone());
        let (answered, opened) = self
            .rule
            .on_cpu(async move {
                let mut opened = match spare {
                    Some(opened) => opened,
                    None => Opened::open(&rule).await?,
                };
                let answer = opened.redact(&rule, &Column::of(&empty(&asked))?).await?;
                Ok((answer.data_type().clone(), opened))
            })
            .await?;
        self.spare.keep(&self.rule, opened);
        self.output_types.lock().insert(called, answered.clone());
        Ok(answered)
    }

    /// A redactor of the caller's own; its first call opens an instance where none is ready. Drive it on the CPU runtime.
    pub fn instance(self: &Arc<Self>) -> Redactor {
        Redactor { rule: Arc::clone(self), slot: Slot::of(&self.rule, self.spare.take()), nanos_per_row: 0 }
    }
}

/// A redactor of one partition.
#[derive(Debug)]
pub struct Redactor {
    rule: Arc<RedactorRule>,
    slot: Arc<Slot<Guest>>,
    /// What the rule costs, smoothed: decides whether looking for repeated values pays.
    nanos_per_row: u64,
}

impl Redactor {
    /// The component behind it.
    pub fn plugin(&self) -> &VersionedName {
        self.rule.plugin()
    }

    /// Redacts a column of any type. The answer has as many rows; it is text, or of the type that [`RedactorRule::output_type`]
    /// says. Nulls stay null. Its values are within the rule's `output_mib` all together.
    ///
    /// # Errors
    /// Whatever the rule does wrong; [`PluginError::Busy`] when the pool stays full. Nothing of the column is in the error; the
    /// next call runs on a fresh instance.
    pub async fn redact(&mut self, values: &ArrayRef) -> Result<ArrayRef, PluginError> {
        if let Some(distinct) = Distinct::of(values, self.nanos_per_row) {
            let answers = self.ask(distinct.values()).await?;
            let limit_bytes = self.rule.rule.options.limits.output_bytes;
            return match distinct.spread(&answers, limit_bytes)? {
                Some(spread) => Ok(spread),
                None => Err(self.rule.rule.too_much_output()),
            };
        }
        self.ask(values).await
    }

    /// One call, or as many as it takes to keep each within a part of the guest's memory.
    async fn ask(&mut self, values: &ArrayRef) -> Result<ArrayRef, PluginError> {
        let column = Column::of(values)?;
        let most = self.rule.rule.call_bytes();
        if column.len() <= 1 || column.bytes() <= most {
            return self.call(&column).await;
        }
        let (mut answers, mut answered) = (Vec::new(), 0);
        for part in column.parts(most, usize::MAX) {
            let answer = self.call(&part).await?;
            answered += payload_bytes(&answer);
            self.rule.rule.check_output(answered)?;
            answers.push(answer);
        }
        let answers: Vec<&dyn Array> = answers.iter().map(AsRef::as_ref).collect();
        concat(&answers).map_err(|error| PluginError::host("joining a rule's answers", error))
    }

    async fn call(&mut self, column: &Column) -> Result<ArrayRef, PluginError> {
        let mut opened = self.slot.take_or_open(&self.rule.rule).await?;
        let begun = Instant::now();
        let answer = opened.redact(&self.rule.rule, column).await?;
        self.learn(begun.elapsed().as_nanos(), column.len());
        self.keep_type(column.data_type(), answer.data_type())?;
        // Only now: an instance that lied or failed is not used again.
        self.slot.keep(&self.rule.rule, opened);
        Ok(answer)
    }

    fn learn(&mut self, nanos: u128, rows: usize) {
        if rows >= 256 {
            let now = u64::try_from(nanos / rows as u128).unwrap_or(u64::MAX).max(1);
            self.nanos_per_row = if self.nanos_per_row == 0 { now } else { (self.nanos_per_row * 3 + now) / 4 };
        }
    }

    /// A rule answers with one type for one type.
    fn keep_type(&self, called: &DataType, answered: &DataType) -> Result<(), PluginError> {
        let mut types = self.rule.output_types.lock();
        let promised = types.entry(called.clone()).or_insert_with(|| answered.clone());
        if promised == answered {
            return Ok(());
        }
        let lie = Lie::TypeChanged { promised: kind_name(promised).to_owned(), got: kind_name(answered).to_owned() };
        Err(self.rule.rule.lied(lie))
    }
}

/// Bytes of values of variable length; others are no longer than what they stand for.
fn payload_bytes(answer: &ArrayRef) -> u64 {
    let offsets = match answer.data_type() {
        DataType::Utf8 => answer.as_string::<i32>().value_offsets(),
        DataType::Binary => answer.as_binary::<i32>().value_offsets(),
        _ => return 0,
    };
    u64::from(offsets[offsets.len() - 1].abs_diff(offsets[0]))
}

impl Opened<Guest> {
    pub(crate) async fn redact(&mut self, rule: &Rule, column: &Column) -> Result<ArrayRef, PluginError> {
        let begun = Instant::now();
        let answer = self.try_redact(rule, column).await;
        self.count(rule, column.len(), begun, &answer);
        answer
    }

    async fn try_redact(&mut self, rule: &Rule, column: &Column) -> Result<ArrayRef, PluginError> {
        let Self { instance, guest, resource } = self;
        let watch = instance.begin();
        let call = watch.over(guest.rule().call_redact(&mut instance.store, *resource, column.as_param())).await;
        let answer = instance.end(call)?;
        let answer = answer.map_err(|said| rule.explain_call(said, &format!("columns of {}", kind_name(column.data_type()))))?;
        let asked = Asked { rows: column.len(), data_type: column.data_type(), nulls: column.nulls() };
        accept(answer, &asked).map_err(|lie| rule.lied(lie))
    }
}
