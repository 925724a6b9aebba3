//! Over HTTP, with retries.

use std::sync::Once;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, NaiveDate};
use reqwest::blocking::{Client, Response};
use reqwest::header::{DATE, HeaderName, LAST_MODIFIED};

use super::{FetchError, Fetched, PriceSource};

/// How often an answer is asked for before giving up; the pause doubles each time.
const TRIES: u32 = 3;

/// The real network.
#[derive(Debug)]
pub struct Http {
    client: Client,
    first_pause: Duration,
}

impl Http {
    /// A client that waits at most 30 seconds for an answer.
    pub fn new() -> Result<Self, FetchError> {
        static PROVIDER: Once = Once::new();
        // A second installation would only repeat the first.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let client = Client::builder()
            .timeout(Duration::from_secs(30))
            .user_agent(concat!("shoestring/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| FetchError::NoAnswer { url: String::new(), problem: chain(&error) })?;
        Ok(Self { client, first_pause: Duration::from_secs(1) })
    }

    fn try_once(&self, url: &str) -> Result<Fetched, (String, bool)> {
        let response = self.client.get(url).send().map_err(|error| (chain(&error), true))?;
        let status = response.status();
        if !status.is_success() {
            let worth_another = status.is_server_error() || status.as_u16() == 429;
            return Err((format!("answered {status}"), worth_another));
        }
        let day = day_of(&response, &LAST_MODIFIED).or_else(|| day_of(&response, &DATE));
        let as_of = day.ok_or_else(|| ("the answer carries no date".to_owned(), false))?;
        let text = response.text().map_err(|error| (chain(&error), true))?;
        Ok(Fetched { text, as_of })
    }
}

impl PriceSource for Http {
    fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        let mut pause = self.first_pause;
        for tried in 1.. {
            match self.try_once(url) {
                Ok(fetched) => return Ok(fetched),
                Err((problem, worth_another)) => {
                    if tried == TRIES || !worth_another {
                        return Err(FetchError::NoAnswer { url: url.to_owned(), problem });
                    }
                }
            }
            thread::sleep(pause);
            pause *= 2;
        }
        unreachable!("the loop ends with its last try")
    }
}

fn day_of(response: &Response, header: &HeaderName) -> Option<NaiveDate> {
    let value = response.headers().get(header)?.to_str().ok()?;
    DateTime::parse_from_rfc2822(value).ok().map(|time| time.date_naive())
}

/// reqwest's own text leaves out the cause.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers each connection with the next of `answers`, then stops.
    fn server(answers: Vec<&'static str>) -> (String, thread::JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/lambda/vms.csv", listener.local_addr().expect("address"));
        let handle = thread::spawn(move || {
            let mut served = 0;
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut request = [0; 2048];
                let _ = stream.read(&mut request).expect("a request");
                stream.write_all(answer.as_bytes()).expect("answered");
                served += 1;
            }
            served
        });
        (url, handle)
    }

    fn quick() -> Http {
        Http { first_pause: Duration::from_millis(1), ..Http::new().expect("client") }
    }

    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const GOOD: &str = "HTTP/1.1 200 OK\r\nLast-Modified: Tue, 04 Aug 2026 10:00:00 GMT\r\n\
        Content-Length: 5\r\nConnection: close\r\n\r\nhello";
    const NONE: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    #[test]
    fn a_busy_server_is_asked_again_and_dates_its_answer() {
        let (url, served) = server(vec![BUSY, GOOD]);
        let fetched = quick().fetch(&url).expect("second answer");
        assert_eq!(fetched.text, "hello");
        assert_eq!(fetched.as_of.to_string(), "2026-08-04");
        assert_eq!(served.join().expect("server"), 2);
    }

    #[test]
    fn a_missing_page_is_not_asked_for_again() {
        let (url, served) = server(vec![NONE]);
        let error = quick().fetch(&url).expect_err("404");
        assert!(error.to_string().contains("404"), "{error}");
        assert_eq!(served.join().expect("server"), 1);
    }
}
