//! A server on a free port of 127.0.0.1 that answers as told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What is answered.
pub(crate) enum Reply {
    /// 200 with this body.
    Body(Vec<u8>),
    /// 200 with this body and an `ETag`.
    Tagged(&'static str, Vec<u8>),
    /// Half of this body, then nothing.
    Cut(Vec<u8>),
    /// This status, without a body.
    Status(u16),
    /// No answer, until the other side goes away.
    Silence,
}

/// Stops when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    served: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// `answer` gets the path with its question, and the `If-None-Match` sent.
    pub(crate) fn start(answer: impl Fn(&str, Option<&str>) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let (served, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (served.clone(), stop.clone());
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                // A client that has gone away is no fault of the server.
                let _ = serve(stream, &answer);
            }
        });
        Self { url, served, stop, thread: Some(thread) }
    }

    /// Requests so far.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream, answer: &impl Fn(&str, Option<&str>) -> Reply) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&piece[..length]),
        }
    }
    let request = String::from_utf8_lossy(&request);
    let path = request.split_whitespace().nth(1).unwrap_or("/");
    let etag = request.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("if-none-match").then(|| value.trim())
    });
    let head = |status: u16, length: usize, more: &str| {
        format!(
            "HTTP/1.1 {status} X\r\nDate: Tue, 04 Aug 2026 10:00:00 GMT\r\nContent-Length: {length}\r\n\
             Connection: close\r\n{more}\r\n"
        )
    };
    match answer(path, etag) {
        Reply::Body(body) => {
            stream.write_all(head(200, body.len(), "").as_bytes())?;
            stream.write_all(&body)
        }
        Reply::Tagged(etag, body) => {
            stream.write_all(head(200, body.len(), &format!("ETag: {etag}\r\n")).as_bytes())?;
            stream.write_all(&body)
        }
        Reply::Cut(body) => {
            stream.write_all(head(200, body.len(), "").as_bytes())?;
            stream.write_all(&body[..body.len() / 2])
        }
        Reply::Status(304) => stream.write_all(b"HTTP/1.1 304 X\r\nConnection: close\r\n\r\n"),
        Reply::Status(status) => stream.write_all(head(status, 0, "").as_bytes()),
        Reply::Silence => {
            // Returns as soon as the other side gives up.
            let _ = stream.read(&mut piece)?;
            Ok(())
        }
    }
}

/// A zip archive with one file, stored as it is.
pub(crate) fn stored_zip(name: &str, contents: &[u8]) -> Vec<u8> {
    let length = u32::try_from(contents.len()).expect("short").to_le_bytes();
    let name_length = u16::try_from(name.len()).expect("short").to_le_bytes();
    let common = |bytes: &mut Vec<u8>| {
        // Version, flags, method (stored), time, day, checksum, both lengths, length of the name, no extra.
        bytes.extend([20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
        bytes.extend(crc32(contents).to_le_bytes());
        bytes.extend(length);
        bytes.extend(length);
        bytes.extend(name_length);
        bytes.extend([0, 0]);
    };
    let mut bytes = b"PK\x03\x04".to_vec();
    common(&mut bytes);
    bytes.extend(name.as_bytes());
    bytes.extend(contents);
    let directory = u32::try_from(bytes.len()).expect("short");
    bytes.extend(b"PK\x01\x02\x14\x00");
    common(&mut bytes);
    bytes.extend([0; 14]);
    bytes.extend(name.as_bytes());
    let size = u32::try_from(bytes.len()).expect("short") - directory;
    bytes.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    bytes.extend(size.to_le_bytes());
    bytes.extend(directory.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}
