//! What goes wrong, and when.
//!
//! **Invariant**: a fault hits the next requests that it was meant for, as many as were asked for, and no other.

use std::sync::{Mutex, PoisonError};

use http::Method;

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 500, and nothing was done.
    Refuse,
    /// Done, and then 500.
    LoseAnswer,
    /// Done, and then the connection breaks without an answer.
    Drop,
    /// No answer, ever.
    Hang,
    /// The body breaks off after this many bytes.
    Cut(usize),
    /// 409 `ConditionalRequestConflict`, and nothing was done.
    Conflict,
}

#[derive(Debug)]
struct Plan {
    method: Method,
    target: String,
    fault: Fault,
    left: usize,
}

/// The faults that wait for their requests.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Plan>>);

impl Faults {
    pub(crate) fn add(&self, method: Method, target: &str, fault: Fault, times: usize) {
        let plan = Plan { method, target: target.to_owned(), fault, left: times };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(plan);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The fault of a request, which is then used up.
    pub(crate) fn of(&self, method: &Method, target: &str) -> Option<Fault> {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = plans.iter_mut().find(|plan| plan.left > 0 && plan.method == *method && target.contains(&plan.target))?;
        plan.left -= 1;
        Some(plan.fault)
    }
}
