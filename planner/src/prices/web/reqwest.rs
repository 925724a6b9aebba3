//! The real network.

use std::sync::Once;
use std::time::Duration;

use chrono::{DateTime, NaiveDate};
use reqwest::blocking::{Client, Response};
use reqwest::header::{
    DATE, ETAG, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER, TRANSFER_ENCODING,
};

use super::{Answer, Transport, Validators, chain};

/// The real network.
#[derive(Debug)]
pub struct Http {
    client: Client,
    timeout: Duration,
}

impl Http {
    /// A client that waits at most `timeout` for an answer to start, and again for each piece of it.
    pub fn new(timeout: Duration) -> Result<Self, String> {
        static PROVIDER: Once = Once::new();
        // A second installation would only repeat the first.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let client = Client::builder()
            .timeout(timeout)
            .user_agent(concat!("shoestring/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| chain(&error))?;
        Ok(Self { client, timeout })
    }
}

impl Transport for Http {
    fn send(&self, url: &str, known: &Validators) -> Result<Answer, String> {
        let mut request = self.client.get(url);
        if let Some(etag) = &known.etag {
            request = request.header(IF_NONE_MATCH, etag);
        } else if let Some(day) = &known.last_modified {
            request = request.header(IF_MODIFIED_SINCE, day);
        }
        let response = request.send().map_err(|error| {
            if error.is_timeout() {
                format!("no answer within {:?}", self.timeout)
            } else {
                chain(&error.without_url())
            }
        })?;
        let text = |header: &HeaderName| {
            response.headers().get(header).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        Ok(Answer {
            status: response.status().as_u16(),
            validators: Validators { etag: text(&ETAG), last_modified: text(&LAST_MODIFIED) },
            as_of: day_of(&response, &LAST_MODIFIED).or_else(|| day_of(&response, &DATE)),
            retry_after: text(&RETRY_AFTER).and_then(|value| value.parse().ok()).map(Duration::from_secs),
            end_is_marked: response.content_length().is_some()
                || text(&TRANSFER_ENCODING).is_some_and(|value| value.contains("chunked"))
                || response.version() >= reqwest::Version::HTTP_2,
            body: Box::new(response),
        })
    }
}

fn day_of(response: &Response, header: &HeaderName) -> Option<NaiveDate> {
    let value = response.headers().get(header)?.to_str().ok()?;
    DateTime::parse_from_rfc2822(value).ok().map(|time| time.date_naive())
}
