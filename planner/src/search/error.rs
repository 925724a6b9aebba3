//! Why no plan was made.

use std::fmt;

use crate::units::Usd;

/// A part of the request that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} = {value}: {problem}")]
pub struct RequestError {
    /// What the user would call it on the command line: `--budget`, `--gpu`, ...
    pub field: String,
    /// Its value.
    pub value: String,
    /// Why it cannot be.
    pub problem: String,
    /// What would do.
    pub hint: String,
}

impl RequestError {
    pub(super) fn new(
        field: &str,
        value: impl fmt::Display,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { field: field.to_owned(), value: value.to_string(), problem: problem.into(), hint: hint.into() }
    }
}

/// Why no plan was made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SearchError {
    /// The request is wrong in itself: wrong usage.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The request is sound, but nothing fits it.
    #[error("no feasible plan for {budget} USD: {reason}")]
    NoFeasiblePlan {
        /// The budget.
        budget: Usd,
        /// What stands in the way, with the number that does not fit.
        reason: String,
        /// What would do: the smallest useful budget, the shortest deadline, ...
        hint: String,
    },
    /// What was aimed at cannot be reached, whatever it costs.
    #[error("no feasible plan: {reason}")]
    OutOfReach {
        /// What stands in the way.
        reason: String,
        /// What would do.
        hint: String,
    },
}

impl SearchError {
    /// Advice, apart from the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Request(error) => Some(error.hint.clone()),
            Self::NoFeasiblePlan { hint, .. } | Self::OutOfReach { hint, .. } => Some(hint.clone()),
        }
    }
}
