//! Asking a URL: retries, time limits, and answers kept from last time. Network, clock and disk are behind
//! [`Transport`], [`Clock`] and [`Cache`].

mod browser;
mod reqwest;

use std::io::{self, Read};
use std::time::Duration;

use chrono::NaiveDate;

pub use self::browser::{Browser, Patience};
pub use self::reqwest::Http;
use super::error::FetchError;

/// No document but the largest price lists comes near this size; those are read as a stream.
const LARGEST_BODY: u64 = 64 << 20;

/// A document and the day it was last changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The document, or what [`Web::get`]'s `reduce` kept of it.
    pub body: Vec<u8>,
    /// Day of the last change by the server's word; the day of the answer by its clock if it gives none.
    pub as_of: NaiveDate,
    /// The server said that nothing changed since the answer kept from last time.
    pub unchanged: bool,
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub enum BodyError {
    /// It broke off; another try may bring all of it.
    Io(io::Error),
    /// It is not what was asked for; another try would bring the same.
    NotACatalogue {
        /// Line, counted from 1; 0 where lines do not count.
        line: u64,
        /// What is wrong.
        problem: String,
    },
}

impl From<io::Error> for BodyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What to keep of a body while it comes in.
pub type Reduce<'a> = &'a dyn Fn(&mut dyn Read) -> Result<Vec<u8>, BodyError>;

/// Something that answers URLs.
pub trait Web {
    /// The document at `url`, of which `reduce` keeps what matters: a body may be larger than memory.
    fn get(&self, url: &str, reduce: Reduce<'_>) -> Result<Fetched, FetchError>;
}

/// Keeps all of a body, up to 64 MiB.
pub fn whole(body: &mut dyn Read) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::new();
    body.take(LARGEST_BODY + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_BODY {
        let problem = format!("larger than {} MiB", LARGEST_BODY >> 20);
        return Err(BodyError::NotACatalogue { line: 0, problem });
    }
    Ok(bytes)
}

/// What the server called the version of a document: sent back, so that it need not send the same again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`, as sent.
    pub last_modified: Option<String>,
}

/// The start of an answer.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The version, by the server's word.
    pub validators: Validators,
    /// Day of the last change; else of the answer.
    pub as_of: Option<NaiveDate>,
    /// When to ask again.
    pub retry_after: Option<Duration>,
    /// The end of the body is marked, so that one that broke off is noticed.
    pub end_is_marked: bool,
    /// The body as it comes in.
    pub body: Box<dyn Read>,
}

/// Sends one request; redirects are followed.
pub trait Transport {
    /// The start of the answer, or in words why there is none.
    fn send(&self, url: &str, known: &Validators) -> Result<Answer, String>;
}

/// The passing of time.
pub trait Clock {
    /// Time since some moment.
    fn elapsed(&self) -> Duration;
    /// Waits.
    fn sleep(&self, pause: Duration);
}

/// An answer kept from last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Its version.
    pub validators: Validators,
    /// Day of the last change.
    pub as_of: NaiveDate,
    /// What was kept of the body.
    pub body: Vec<u8>,
}

/// Answers kept from last time. What cannot be kept or read is asked for again.
pub trait Cache {
    /// The answer of `url`.
    fn get(&self, url: &str) -> Option<Cached>;
    /// Keeps the answer of `url`.
    fn put(&self, url: &str, cached: &Cached);
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCache;

impl Cache for NoCache {
    fn get(&self, _url: &str) -> Option<Cached> {
        None
    }

    fn put(&self, _url: &str, _cached: &Cached) {}
}

/// reqwest's own text leaves out the cause.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
