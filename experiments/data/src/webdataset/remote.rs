//! Shards at an address (http or https): fetched once into a folder of this machine, going on after an
//! interruption where it was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::Client;
use reqwest::header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use sha2::{Digest, Sha256};

use crate::error::DataError;

/// Waits before the second and every further try.
const WAITS: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];
/// The longest wait for an answer to start, or for its next piece.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Whether a shard is named by an address.
pub(crate) fn is_remote(name: &str) -> bool {
    name.starts_with("http://") || name.starts_with("https://")
}

/// The file of a shard: itself, or what was fetched from its address.
pub(crate) fn local(name: &str) -> Result<PathBuf, DataError> {
    if is_remote(name) { fetch_into(name, &cache_folder(), &WAITS) } else { Ok(PathBuf::from(name)) }
}

/// Where fetched shards are kept: `$SHOESTRING_CACHE`, else `shoestring/shards` in the user's cache folder.
fn cache_folder() -> PathBuf {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("SHOESTRING_CACHE").unwrap_or_else(|| {
        let caches = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
        caches.unwrap_or_else(std::env::temp_dir).join("shoestring").join("shards")
    })
}

/// The file of a shard at an address, fetched unless it is there already.
fn fetch_into(url: &str, folder: &Path, waits: &[Duration]) -> Result<PathBuf, DataError> {
    let digest: String = Sha256::digest(url).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let last = url.split(['?', '#']).next().unwrap_or(url).rsplit('/').next().unwrap_or("shard");
    let plain: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' }).collect();
    let path = folder.join(format!("{digest}-{plain}"));
    if path.is_file() {
        return Ok(path);
    }
    let failed = |source| DataError::Read { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let part = path.with_extension("part");
    let mut waits = waits.iter();
    loop {
        match attempt(url, &part) {
            Ok(()) => break,
            Err(Problem::Disk(source)) => return Err(DataError::Read { path: part, source }),
            Err(Problem::Refused(problem)) => {
                return Err(DataError::Remote { url: url.to_owned(), problem, tries: 1 });
            }
            Err(Problem::Network(problem)) => match waits.next() {
                Some(wait) => std::thread::sleep(*wait),
                None => {
                    return Err(DataError::Remote { url: url.to_owned(), problem, tries: WAITS.len() + 1 });
                }
            },
        }
    }
    fs::rename(&part, &path).map_err(|source| DataError::Read { path: path.clone(), source })?;
    // The mark of an unfinished fetch; without it the next one starts anew.
    let _ = fs::remove_file(tag_of(&part));
    Ok(path)
}

enum Problem {
    /// May be over at the next try.
    Network(String),
    /// Will be the same at the next try.
    Refused(String),
    Disk(io::Error),
}

fn tag_of(part: &Path) -> PathBuf {
    part.with_extension("etag")
}

fn client() -> Result<Client, Problem> {
    static PROVIDER: Once = Once::new();
    // A second installation would only repeat the first.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Client::builder()
        .timeout(None)
        .connect_timeout(TIMEOUT)
        .user_agent(concat!("shoestring/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Problem::Refused(error.to_string()))
}

/// One try: what is missing of the file is fetched, all of it where the server cannot go on or has another file.
fn attempt(url: &str, part: &Path) -> Result<(), Problem> {
    let network = |error: reqwest::Error| {
        let mut text = error.without_url().to_string();
        if text.is_empty() {
            text.push_str("the connection failed");
        }
        Problem::Network(text)
    };
    let mut have = fs::metadata(part).map_or(0, |metadata| metadata.len());
    let tag = fs::read_to_string(tag_of(part)).ok();
    let mut request = client()?.get(url);
    match &tag {
        Some(tag) if have > 0 => {
            request = request.header(RANGE, format!("bytes={have}-")).header(IF_RANGE, tag)
        }
        // Without a mark there is no telling whether the beginning is of the same file.
        _ => have = 0,
    }
    let mut response = request.send().map_err(network)?;
    let header = |name: reqwest::header::HeaderName| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    match response.status() {
        StatusCode::OK => have = 0,
        StatusCode::PARTIAL_CONTENT => {
            let goes_on =
                header(CONTENT_RANGE).is_some_and(|range| range.starts_with(&format!("bytes {have}-")));
            if !goes_on {
                let _ = fs::remove_file(part);
                return Err(Problem::Network("the server goes on at another place".to_owned()));
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let _ = fs::remove_file(part);
            return Err(Problem::Network("the file has become shorter".to_owned()));
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Problem::Network(format!("the server answers {status}")));
        }
        status => return Err(Problem::Refused(format!("the server answers {status}"))),
    }
    let expected = response.content_length();
    match header(ETAG).filter(|tag| !tag.starts_with("W/")) {
        Some(tag) => fs::write(tag_of(part), tag).map_err(Problem::Disk)?,
        None => drop(fs::remove_file(tag_of(part))),
    }
    let mut file: File = if have > 0 {
        OpenOptions::new().append(true).open(part).map_err(Problem::Disk)?
    } else {
        File::create(part).map_err(Problem::Disk)?
    };
    let mut got = 0u64;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match response.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Problem::Network(format!("after {} bytes: {error}", have + got))),
        };
        file.write_all(&buffer[..read]).map_err(Problem::Disk)?;
        got += read as u64;
    }
    if let Some(expected) = expected.filter(|&expected| expected != got) {
        return Err(Problem::Network(format!("{got} of {expected} bytes came")));
    }
    file.sync_all().map_err(Problem::Disk)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::BufRead;
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A server that cuts the first `cuts` answers off after 40,000 bytes; gives its address and the ranges
    /// that were asked for.
    fn server(body: Vec<u8>, mut cuts: usize, status: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a/x-000.tar?token=1", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut range = String::new();
                for line in io::BufReader::new(&stream).lines() {
                    let line = line.unwrap();
                    if line.is_empty() {
                        break;
                    }
                    if let Some(asked) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                        range = asked.to_owned();
                    }
                }
                seen.lock().unwrap().push(range.clone());
                let from: usize = range.trim_end_matches('-').parse().unwrap_or(0);
                let part = &body[from..];
                let head = if status != "200 OK" {
                    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                } else if range.is_empty() {
                    format!(
                        "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        part.len()
                    )
                } else {
                    format!(
                        "HTTP/1.1 206 Partial Content\r\nETag: \"v1\"\r\nContent-Range: bytes {from}-{}/{}\r\n\
                         Content-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len() - 1,
                        body.len(),
                        part.len()
                    )
                };
                let _ = stream.write_all(head.as_bytes());
                if status == "200 OK" {
                    let end = if cuts > 0 { part.len().min(40_000) } else { part.len() };
                    cuts = cuts.saturating_sub(1);
                    let _ = stream.write_all(&part[..end]);
                }
            }
        });
        (url, asked)
    }

    #[test]
    fn a_fetch_goes_on_where_it_was_cut_off_and_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let body: Vec<u8> = (0..100_000u32).map(|number| (number * 31 % 251) as u8).collect();
        let (url, asked) = server(body.clone(), 2, "200 OK");
        let waits = [Duration::ZERO; 3];
        let path = fetch_into(&url, folder.path(), &waits).unwrap();
        assert_eq!(fs::read(&path).unwrap(), body);
        assert_eq!(*asked.lock().unwrap(), ["", "40000-", "80000-"]);
        assert!(path.to_string_lossy().ends_with("-x-000.tar"), "{path:?}");
        assert_eq!(fetch_into(&url, folder.path(), &waits).unwrap(), path);
        assert_eq!(asked.lock().unwrap().len(), 3, "nothing is asked for again");
    }

    #[test]
    fn what_is_not_there_is_not_asked_for_again_and_what_fails_is() {
        let folder = tempfile::tempdir().unwrap();
        for (status, tries) in [("404 Not Found", 1), ("503 Service Unavailable", 3)] {
            let (url, asked) = server(Vec::new(), 0, status);
            let error = fetch_into(&url, folder.path(), &[Duration::ZERO; 2]).unwrap_err();
            assert!(error.to_string().contains(status), "{error}");
            assert_eq!(asked.lock().unwrap().len(), tries);
        }
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = fetch_into(&format!("http://{nobody}/x.tar"), folder.path(), &[]).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
    }
}
