//! The typed face of `redactor`: columns in, columns out.
//!
//! **Invariant**: a column that comes out has passed every check of [`crate::answer`]; when anything goes wrong there is no
//! column, and the instance is gone. While others wait for a place in the pool, nobody holds an instance between two calls.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Instant,
};

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::concat,
    datatypes::DataType,
};
use parking_lot::Mutex;
use wasmtime::component::ResourceAny;

use crate::{
    PluginError,
    answer::{Asked, accept, kind_name},
    column::{Column, called_as, empty},
    distinct::Distinct,
    error::{Crash, Lie, VersionedName},
    instance::Instance,
    rule::Rule,
    runtime::Idle,
    wit::exports::lakehouse::plugin::redactor::Guest,
};

/// The part of a guest's memory that one call's values may take: it also holds its program, a copy or two, and the answer.
const CALL_SHARE: u64 = 8;

/// A redactor of one request: its component, configuration and limits are fixed. Shared by the partitions of a query, each of
/// which drives its own [`Redactor`].
#[derive(Debug)]
pub struct RedactorRule {
    rule: Rule,
    output_types: Mutex<HashMap<DataType, DataType>>,
    /// The instance that proved the configuration, for whoever asks first.
    spare: Arc<Slot>,
}

/// An instance between two calls. Whoever waits for a place in the pool may take it away.
#[derive(Debug)]
struct Slot(Mutex<Option<Opened>>);

impl Slot {
    fn of(rule: &Rule, opened: Option<Opened>) -> Arc<Self> {
        let slot = Arc::new(Self(Mutex::new(opened)));
        let weak: Weak<Self> = Arc::downgrade(&slot);
        rule.runtime.register(weak);
        slot
    }

    fn take(&self) -> Option<Opened> {
        self.0.lock().take()
    }

    /// Keeps the instance, unless others wait for its place.
    fn keep(&self, rule: &Rule, opened: Opened) {
        *self.0.lock() = Some(opened);
        // Who began to wait before it was here has not found it.
        if rule.runtime.is_contended() {
            self.give_up();
        }
    }
}

impl Idle for Slot {
    fn give_up(&self) -> bool {
        self.take().is_some()
    }
}

impl RedactorRule {
    /// Opens the rule once, so that a bad configuration shows now.
    pub(crate) async fn open(rule: Rule) -> Result<Self, PluginError> {
        let opening = rule.clone();
        let opened = rule.on_cpu(async move { Opened::open(&opening).await }).await?;
        let spare = Slot::of(&rule, Some(opened));
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
                let answer = opened.call(&rule, &Column::of(&empty(&asked))?).await?;
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
    slot: Arc<Slot>,
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
            return distinct.spread(&answers, self.output_bytes())?.ok_or_else(|| self.too_much());
        }
        self.ask(values).await
    }

    /// One call, or as many as it takes to keep each within a part of the guest's memory.
    async fn ask(&mut self, values: &ArrayRef) -> Result<ArrayRef, PluginError> {
        let column = Column::of(values)?;
        let most = self.rule.rule.options.limits.memory_bytes / CALL_SHARE;
        if column.len() <= 1 || column.bytes() as u64 <= most {
            return self.call(&column).await;
        }
        let (mut answers, mut answered) = (Vec::new(), 0);
        for part in column.parts(usize::try_from(most).unwrap_or(usize::MAX)) {
            let answer = self.call(&part).await?;
            answered += payload_bytes(&answer);
            if answered > self.output_bytes() {
                return Err(self.too_much());
            }
            answers.push(answer);
        }
        let answers: Vec<&dyn Array> = answers.iter().map(AsRef::as_ref).collect();
        concat(&answers).map_err(|error| PluginError::host("joining a rule's answers", error))
    }

    /// Of one column's answer, however many calls it took.
    fn output_bytes(&self) -> u64 {
        self.rule.rule.options.limits.output_bytes
    }

    fn too_much(&self) -> PluginError {
        let error = PluginError::OutputExceeded { plugin: self.plugin().clone(), limit_bytes: self.output_bytes() };
        self.rule.rule.version.counters.failed(&error);
        error
    }

    async fn call(&mut self, column: &Column) -> Result<ArrayRef, PluginError> {
        let mut opened = match self.slot.take() {
            Some(opened) => opened,
            None => Opened::open(&self.rule.rule).await?,
        };
        let begun = Instant::now();
        let answer = opened.call(&self.rule.rule, column).await?;
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
        Err(PluginError::Lied { plugin: self.plugin().clone(), lie })
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

/// An instance that has accepted its configuration.
pub(crate) struct Opened {
    pub(crate) instance: Instance,
    guest: Guest,
    resource: ResourceAny,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("plugin", &self.instance.plugin).finish_non_exhaustive()
    }
}

impl Opened {
    pub(crate) async fn open(rule: &Rule) -> Result<Self, PluginError> {
        let opened = Self::try_open(rule).await;
        if let Err(error) = &opened {
            rule.version.counters.failed(error);
        }
        opened
    }

    async fn try_open(rule: &Rule) -> Result<Self, PluginError> {
        let shape = || PluginError::Crashed { plugin: rule.plugin(), crash: Crash::Shape("redactor") };
        let id = Arc::clone(&rule.version.id);
        let (mut instance, exports) = rule.runtime.instantiate(&rule.loaded, id, rule.options.clone()).await?;
        let indices = rule.loaded.redactor.as_ref().ok_or_else(shape)?;
        let guest = indices.load(&mut instance.store, &exports).map_err(|_| shape())?;
        let watch = instance.begin();
        let answer = watch.over(guest.rule().call_open(&mut instance.store, &rule.config)).await;
        let resource = instance.end(answer)?.map_err(|said| rule.explain(said, "this configuration"))?;
        Ok(Self { instance, guest, resource })
    }

    pub(crate) async fn call(&mut self, rule: &Rule, column: &Column) -> Result<ArrayRef, PluginError> {
        let begun = Instant::now();
        let answer = self.try_call(rule, column).await;
        rule.version.counters.count(column.len(), begun.elapsed(), self.instance.memory_bytes(), &answer);
        answer
    }

    async fn try_call(&mut self, rule: &Rule, column: &Column) -> Result<ArrayRef, PluginError> {
        let Self { instance, guest, resource } = self;
        let watch = instance.begin();
        let call = watch.over(guest.rule().call_redact(&mut instance.store, *resource, column.as_param())).await;
        let answer = instance.end(call)?;
        let answer = answer.map_err(|said| rule.explain_call(said, &format!("columns of {}", kind_name(column.data_type()))))?;
        let asked = Asked { rows: column.len(), data_type: column.data_type(), nulls: column.nulls() };
        accept(answer, &asked).map_err(|lie| PluginError::Lied { plugin: rule.plugin(), lie })
    }
}
