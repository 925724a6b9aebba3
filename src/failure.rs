//! What went wrong, what to do about it, and the exit code it ends with.

use std::fmt::Display;
use std::process::ExitCode;

/// How the program ends. The table stands in `docs/formats.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    Failure,
    Usage,
    Infeasible,
    CapReached,
    Partial,
    /// An invoice differs from the ledgers, or a budget's threshold is crossed.
    Differs,
    /// `EX_TEMPFAIL`: stopped by a signal, the same command resumes.
    Interrupted,
    /// What a command exited with that ran under `guard`.
    Passed(u8),
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Infeasible => 3,
            Self::CapReached => 4,
            Self::Partial => 5,
            Self::Differs => 6,
            Self::Interrupted => 75,
            Self::Passed(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error on its way to the user.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: anyhow::Error,
    pub(crate) hint: Option<String>,
    pub(crate) exit: Exit,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), hint: None, exit }
    }

    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, anyhow::anyhow!("{message}"))
    }

    pub(crate) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The message with its chain of causes, on one line each.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("error: {}", self.error);
        let mut said = self.error.to_string();
        for cause in self.error.chain().skip(1) {
            let cause = cause.to_string();
            // Many error types repeat their source in their own text.
            if !said.contains(&cause) {
                text.push_str(&format!("\n  cause: {cause}"));
            }
            said = cause;
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\nhint: {hint}"));
        }
        text
    }
}

/// Anything without a code of its own is a plain failure.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Exit::Failure, error)
    }
}
