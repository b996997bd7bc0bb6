//! Which attack, and when.
//!
//! **Invariant**: `{}` is an honest rule.

use lakehouse_sdk::raw::redactor::lakehouse::plugin::types;
use lakehouse_sdk::{Config, Error, Value};

/// Misbehaves on request.
#[derive(Clone, Debug, Config)]
pub(crate) struct Evil {
    /// What to do.
    #[config(default = Attack::None)]
    pub(crate) attack: Attack,
    /// Attack only in calls where a value contains this text; without it, in every call with at least one row.
    pub(crate) trigger: Option<String>,
    /// The size of what is huge.
    #[config(default = 32)]
    pub(crate) size_mib: u32,
    /// How long what spins for a while spins: millions of turns, of about a nanosecond each.
    #[config(default = 300)]
    pub(crate) spin_millions: u32,
}

/// Attacks of every kind unless some are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Config)]
pub(crate) enum Attack {
    /// Honest.
    None,
    /// Never returns from the function that the host asks for answers.
    Loop,
    /// Never returns from `open`; the trigger is not looked at.
    LoopInOpen,
    /// Never returns from the resource's destructor, if it was triggered before (redactor, condition).
    LoopInDrop,
    /// Never returns from `to-row-keys` (id mapper).
    LoopInRowKeys,
    /// Never returns from `dimensions`; the trigger is not looked at (embedder).
    LoopInDimensions,
    /// Never returns from `capabilities`; the trigger is not looked at (model adapter).
    LoopInCapabilities,
    /// Never returns from `open-stream`; the trigger is not looked at (model adapter).
    LoopInOpenStream,
    /// Never returns from `finish`; the trigger is not looked at (model adapter).
    LoopInFinish,
    /// Sleeps for an hour in a host call, where no instruction is executed.
    Sleep,
    /// Spins for a while, then answers honestly: a long call, and no crime.
    Spin,
    /// Spins until it counts as a long call, logs a line, then sleeps for an hour in a host call.
    SpinThenSleep,
    /// Logs a line in `open`, then refuses its configuration; the trigger is not looked at.
    LogThenRefuse,
    /// Allocates and touches memory until it is refused, and traps then.
    Memory,
    /// Grows its memory until it is refused and answers honestly then.
    MemoryGrow,
    /// Recurses until the stack ends.
    Recursion,
    /// Traps.
    Unreachable,
    /// Panics, with a message that holds the first value.
    Panic,
    /// Leaves the process by way of WASI.
    Exit,
    /// Makes resource handles for ever (redactor, condition).
    Handles,
    /// One row, id or vector less than asked for.
    ShortRows,
    /// One row, id or vector more than asked for.
    LongRows,
    /// No row at all, and not even a first offset (redactor); none (condition).
    NoRows,
    /// Bytes that are no UTF-8 (redactor: in a value; condition: in a reason; id mapper: in an id; model adapter: in an answer).
    BadUtf8,
    /// A value that ends inside a character, the next begins there (redactor).
    SplitCharacter,
    /// Offsets that decrease (redactor).
    BadOffsetsDecreasing,
    /// A last offset far beyond the buffer (redactor).
    BadOffsetsOverrun,
    /// A negative offset (redactor).
    BadOffsetsNegative,
    /// A first offset that is not 0 (redactor).
    BadOffsetsStart,
    /// Every null becomes a value (redactor, id mapper).
    NullToValue,
    /// Every value becomes a null (id mapper).
    ValueToNull,
    /// A validity bitmap that is too short (redactor).
    ShortValidity,
    /// Answers in a type that is neither the input's nor text (redactor, id mapper).
    WrongType,
    /// Booleans that are neither 0 nor 1 (redactor; the answer has the type of the input only if that is boolean).
    BadBoolean,
    /// An answer of `size_mib` (redactor: one value; condition: one reason; model adapter: one text).
    HugeOutput,
    /// Answers every value that holds the trigger with `size_mib` of text: little for one value, and much for a value that stands
    /// in many rows (redactor).
    LongAnswers,
    /// A list whose length goes far beyond the memory (redactor, condition, chunker, embedder).
    WildPointer,
    /// Many answers that share one buffer of `size_mib`, so that lifting them needs far more than the memory (condition).
    AliasedOutput,
    /// An error whose message is `size_mib` long.
    HugeError,
    /// An error with control characters, escape sequences and the first value in its message.
    ControlCharsError,
    /// Refuses its configuration with control characters in the message; the trigger is not looked at.
    ControlCharsInOpen,
    /// Writes 20,000 log lines of 1 KiB, then answers honestly.
    LogFlood,
    /// Writes one log line of `size_mib` with control characters, then answers honestly.
    LogHuge,
    /// Writes 20,000 lines of 1 KiB to standard error, then answers honestly.
    StderrFlood,
    /// Answers with every value that it has seen since it was instantiated (redactor: in each row; condition: as the reason;
    /// embedder: their length; model adapter: as the answer).
    RememberState,
    /// An answer that depends on how often it was asked (redactor).
    Nondeterministic,
    /// A span that ends one byte behind its document (chunker).
    SpanOutside,
    /// A span that ends at 4 GiB (chunker).
    SpanOverlong,
    /// A span that ends inside the first character of more than one byte (chunker).
    SpanInsideCharacter,
    /// A span that ends before it starts (chunker).
    SpanBackwards,
    /// Spans in the reverse order (chunker).
    SpanDisorder,
    /// Each span twice (chunker).
    SpanTwice,
    /// A span of a document that was not given (chunker).
    SpanOfNobody,
    /// A span of a null document (chunker).
    SpanOfNull,
    /// A start too many (chunker).
    SpanLists,
    /// All spans that the first document has, up to two million (chunker).
    SpanFlood,
    /// Ids from which no key can be made again: all are one (id mapper).
    NotInvertible,
    /// Refuses its own document ids (id mapper).
    DisownIds,
    /// A vector that holds no number (embedder, model adapter).
    NanVectors,
    /// A vector with an infinite number (embedder, model adapter).
    InfiniteVectors,
    /// Vectors one number shorter than declared (embedder, model adapter).
    WrongDimension,
    /// Declares vectors without numbers; the trigger is not looked at (embedder).
    ZeroDimensions,
    /// Declares vectors of four billion numbers; the trigger is not looked at (embedder).
    HugeDimensions,
    /// Declares another dimension each time it is asked; the trigger is not looked at (embedder).
    ChangingDimensions,
    /// A request to an address of its own (model adapter).
    RequestAbsoluteUrl,
    /// A request to a path above the provider's (model adapter).
    RequestClimbing,
    /// A header that ends the line and begins another (model adapter).
    RequestSplitHeader,
    /// A header that holds a secret (model adapter).
    RequestSecretHeader,
    /// A body of `size_mib` (model adapter).
    RequestHugeBody,
}

impl Evil {
    pub(crate) fn open(config: &str) -> Result<Self, types::Error> {
        let value: Value = config.parse().map_err(|_| types::Error::InvalidConfig("not JSON".into()))?;
        Self::from_value(value).map_err(|error| Error::from(error).into())
    }

    /// Whether this very value is meant.
    pub(crate) fn is_meant(&self, value: &[u8]) -> bool {
        self.is_triggered_by(value, 1)
    }

    pub(crate) fn is_triggered_by(&self, data: &[u8], rows: usize) -> bool {
        match &self.trigger {
            None => rows > 0,
            Some(trigger) => data.windows(trigger.len().max(1)).any(|window| window == trigger.as_bytes()),
        }
    }
}
