//! Reading files that are no longer than they may be.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

/// The longest file of settings or of lines (class names, templates) in bytes: 64 MiB.
pub(crate) const MAX_TEXT_BYTES: u64 = 64 << 20;

/// All bytes of a file. One of more than `most` bytes is an error of kind [`io::ErrorKind::FileTooLarge`], and
/// no more than that is held, whatever the file says of its own length.
pub fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(most)).unwrap_or(0));
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(too_large(length.max(bytes.len() as u64), most));
    }
    Ok(bytes)
}

/// [`read_bounded`] of UTF-8 text.
pub fn read_text_bounded(path: &Path, most: u64) -> io::Result<String> {
    let bytes = read_bounded(path, most)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
}

/// The next line into `line`, its end included; false at the end. A line of more than `most` bytes is an error of
/// kind [`io::ErrorKind::FileTooLarge`].
pub fn read_line_bounded(input: &mut impl BufRead, most: u64, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    input.take(most.saturating_add(1)).read_until(b'\n', line)?;
    if line.len() as u64 > most && line.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("a line of more than {most} bytes")));
    }
    Ok(!line.is_empty())
}

/// A reader that gives no more than so many bytes between two restarts of its meter: records without an end
/// are not read into memory. What is skipped by seeking does not count.
pub(crate) struct Metered<R> {
    inner: R,
    meter: Meter,
    /// What is too long, for the error.
    what: &'static str,
}

/// Restarts the count of a [`Metered`].
#[derive(Clone)]
pub(crate) struct Meter {
    left: Rc<Cell<u64>>,
    most: u64,
}

impl Meter {
    pub(crate) fn restart(&self) {
        self.left.set(self.most);
    }
}

impl<R> Metered<R> {
    pub(crate) fn new(inner: R, most: u64, what: &'static str) -> (Self, Meter) {
        let meter = Meter { left: Rc::new(Cell::new(most)), most };
        (Self { inner, meter: meter.clone(), what }, meter)
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.meter.left.get();
        if left == 0 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, self.what));
        }
        let read = self.inner.read(buffer)?;
        self.meter.left.set(left.saturating_sub(read as u64));
        Ok(read)
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

fn too_large(length: u64, most: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("{length} bytes, more than the {most} that are read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_not_read() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        // A hole: no disk is used, and reading it whole would take a terabyte.
        file.as_file().set_len(1 << 40).expect("is made longer");
        let error = read_bounded(file.path(), 1000).expect_err("is too long");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "1099511627776 bytes, more than the 1000 that are read");
        file.as_file().set_len(1000).expect("is made shorter");
        assert_eq!(read_bounded(file.path(), 1000).expect("fits").len(), 1000);
        #[cfg(target_os = "linux")]
        assert!(read_bounded(Path::new("/dev/zero"), 1000).is_err(), "says that it is empty");
    }

    #[test]
    fn lines_end_and_long_ones_are_refused() {
        let (mut input, mut line) = (&b"ab\nabc\n\nabcd"[..], Vec::new());
        for expected in [&b"ab\n"[..], b"abc\n", b"\n"] {
            assert!(read_line_bounded(&mut input, 3, &mut line).expect("fits"));
            assert_eq!(line, expected);
        }
        let error = read_line_bounded(&mut input, 3, &mut line).expect_err("four bytes");
        assert_eq!(error.to_string(), "a line of more than 3 bytes");
        assert!(!read_line_bounded(&mut &b""[..], 3, &mut line).expect("the end"));
    }
}
