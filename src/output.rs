//! Data to stdout, everything else to stderr.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde_json::Value;

use crate::failure::{Exit, Failure};

/// Where words go. Facts are data and always printed; notes and bars can be silenced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    pub(crate) quiet: bool,
}

impl Printer {
    /// Data: text with a final newline on stdout. A reader that has gone away is no error.
    pub(crate) fn data(self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = out
            .write_all(text.as_bytes())
            .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") })
            .and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Data as indented JSON.
    pub(crate) fn json(self, value: &Value) -> Result<(), Failure> {
        self.data(&format!("{value:#}"))
    }

    /// A remark on stderr.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }

    /// Whether progress bars may be drawn.
    pub(crate) fn bars(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }
}

/// An error or warning on stderr, silenced by nothing.
pub(crate) fn complain(text: &str) {
    // When even stderr is gone there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes a whole file or none: temporary name in the same folder, sync, rename.
pub(crate) fn write_file(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    shoestring_durable::write_file(path, contents).map_err(|error| Failure::new(Exit::Failure, error))
}
