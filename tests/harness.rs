//! A fresh folder, the real binary, and what it said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A fresh folder in which the program runs.
pub(crate) struct Sandbox {
    folder: TempDir,
}

/// What one command said, with the folder's path replaced.
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("create folder");
        fs::write(path, contents).expect("write file");
    }

    /// The program with `arguments`, ready to start: no terminal, no colours, two threads.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoestring"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("NO_COLOR", "1")
            .env("RAYON_NUM_THREADS", "2")
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.said(self.command(arguments).output().expect("the program starts"))
    }

    /// Like [`Sandbox::run`], asserting success.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?}\n{}", said.snapshot());
        said
    }

    fn said(&self, output: Output) -> Said {
        let folder = self.folder.path().to_string_lossy().into_owned();
        let clean = |bytes: Vec<u8>| {
            String::from_utf8(bytes).expect("the program speaks UTF-8").replace(&folder, "[FOLDER]")
        };
        Said {
            stdout: clean(output.stdout),
            stderr: clean(output.stderr),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

impl Said {
    /// stdout, stderr and exit code in one text.
    pub(crate) fn snapshot(&self) -> String {
        format!("exit code: {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).expect("stdout is JSON")
    }
}

/// Every line of a JSON-lines file.
pub(crate) fn json_lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).expect("journal");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}
