//! The typed face of `id-mapper`: row keys to document ids, and back.
//!
//! **Invariant**: a document id that comes out has led back to its row key, here and now; there is one for every key that was asked
//! for, or none at all.

use std::{sync::Arc, time::Instant};

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray},
    buffer::NullBuffer,
    compute::{cast, concat},
    datatypes::DataType,
};

use crate::{
    PluginError,
    answer::{Asked, accept, kind_name},
    column::{Column, called_as},
    error::{Lie, VersionedName},
    opened::{Opened, Slot},
    rule::Rule,
    wit::exports::lakehouse::plugin::id_mapper::Guest,
};

/// An id mapper of one request, on an instance of its own.
#[derive(Debug)]
pub struct IdMapper {
    rule: Rule,
    slot: Arc<Slot<Guest>>,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mapping {
    ToDocIds,
    ToRowKeys,
}

impl IdMapper {
    /// Opens the rule once, so that a bad configuration shows now.
    pub(crate) async fn open(rule: Rule) -> Result<Self, PluginError> {
        Ok(Self { slot: Slot::opened(&rule).await?, rule })
    }

    /// The component behind it.
    pub fn plugin(&self) -> &VersionedName {
        &self.rule.version.id
    }

    /// The document id of each row key; nulls stay null. Keys are text or integers of any width. Each id is mapped back, and must
    /// yield its key. May be awaited on any runtime; the component runs on the CPU runtime.
    ///
    /// # Errors
    /// [`PluginError::InputType`] for keys of another type, whatever the component does wrong, [`PluginError::Busy`] when the pool
    /// stays full. No key is in the error; the next call runs on a fresh instance.
    pub async fn to_doc_ids(&mut self, keys: &ArrayRef) -> Result<StringArray, PluginError> {
        if !matches!(called_as(keys.data_type())?, DataType::Utf8 | DataType::Int64) {
            return Err(PluginError::InputType(keys.data_type().to_string()));
        }
        self.map(Column::of(keys)?, Mapping::ToDocIds).await
    }

    /// The row key of each document id, in text form; nulls stay null. May be awaited on any runtime.
    ///
    /// # Errors
    /// As [`Self::to_doc_ids`]; [`PluginError::RefusedInput`] for what is no document id of this mapper's.
    pub async fn to_row_keys(&mut self, doc_ids: &StringArray) -> Result<StringArray, PluginError> {
        self.map(Column::of(&(Arc::new(doc_ids.clone()) as ArrayRef))?, Mapping::ToRowKeys).await
    }

    /// In as many calls as it takes to keep each within a part of the guest's memory.
    async fn map(&self, column: Column, mapping: Mapping) -> Result<StringArray, PluginError> {
        let (rule, slot) = (self.rule.clone(), Arc::clone(&self.slot));
        self.rule
            .on_cpu(async move {
                let (mut answers, mut answered) = (Vec::new(), 0);
                for part in column.parts(rule.call_bytes(), usize::MAX) {
                    let mut opened = slot.take_or_open(&rule).await?;
                    let answer = match mapping {
                        Mapping::ToDocIds => opened.doc_ids(&rule, &part).await?,
                        Mapping::ToRowKeys => opened.map(&rule, &part, mapping).await?,
                    };
                    slot.keep(&rule, opened);
                    answered += answer.values().len() as u64;
                    rule.check_output(answered)?;
                    answers.push(answer);
                }
                joined(&answers)
            })
            .await
    }
}

fn joined(answers: &[StringArray]) -> Result<StringArray, PluginError> {
    let arrays: Vec<&dyn Array> = answers.iter().map(|answer| answer as &dyn Array).collect();
    match arrays.as_slice() {
        [] => Ok(StringArray::new_null(0)),
        arrays => {
            let all = concat(arrays).map_err(|error| PluginError::host("joining a mapper's answers", error))?;
            Ok(all.as_string().clone())
        }
    }
}

impl Opened<Guest> {
    /// Maps `keys`, and back again.
    pub(crate) async fn doc_ids(&mut self, rule: &Rule, keys: &Column) -> Result<StringArray, PluginError> {
        let doc_ids = self.map(rule, keys, Mapping::ToDocIds).await?;
        let asked_back = Column::of(&(Arc::new(doc_ids.clone()) as ArrayRef))?;
        let back = match self.map(rule, &asked_back, Mapping::ToRowKeys).await {
            // Its own id: that it does not know it is the mapper's fault, not the key's.
            Err(PluginError::RefusedInput { .. }) => return Err(rule.lied(Lie::NotInvertible)),
            back => back?,
        };
        let text_form = cast(keys.array(), &DataType::Utf8).map_err(|error| PluginError::host("keys as text", error))?;
        if back == *text_form.as_string::<i32>() { Ok(doc_ids) } else { Err(rule.lied(Lie::NotInvertible)) }
    }

    /// One call, one way.
    pub(crate) async fn map(&mut self, rule: &Rule, column: &Column, mapping: Mapping) -> Result<StringArray, PluginError> {
        let begun = Instant::now();
        let answer = self.try_map(rule, column, mapping).await;
        self.count(rule, column.len(), begun, &answer);
        answer
    }

    async fn try_map(&mut self, rule: &Rule, column: &Column, mapping: Mapping) -> Result<StringArray, PluginError> {
        let Self { instance, guest, resource } = self;
        let watch = instance.begin();
        let (mapper, keys) = (guest.rule(), column.as_param());
        let call = match mapping {
            Mapping::ToDocIds => watch.over(mapper.call_to_doc_ids(&mut instance.store, *resource, keys)).await,
            Mapping::ToRowKeys => watch.over(mapper.call_to_row_keys(&mut instance.store, *resource, keys)).await,
        };
        let answer = instance.end(call)?;
        let answer = answer.map_err(|said| rule.explain_call(said, &format!("ids of {}", kind_name(column.data_type()))))?;
        let asked = Asked { rows: column.len(), data_type: &DataType::Utf8, nulls: column.nulls() };
        let array = accept(answer, &asked).map_err(|lie| rule.lied(lie))?;
        let hidden = column.nulls().map_or(0, NullBuffer::null_count);
        if array.null_count() > hidden {
            return Err(rule.lied(Lie::ValueToNull));
        }
        Ok(array.as_string().clone())
    }
}
