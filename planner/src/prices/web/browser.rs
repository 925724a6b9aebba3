//! Retries with growing pauses, a limit on the time of one answer, and answers kept from last time.

use std::io::{self, Read};
use std::time::Duration;

use super::super::error::FetchError;
use super::{Answer, BodyError, Cache, Cached, Clock, Fetched, Reduce, Transport, Validators, Web, chain};

/// How long to go on asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How often a URL is asked, at least once.
    pub tries: u32,
    /// Pause before the second try; doubled before each further one.
    pub first_pause: Duration,
    /// No pause is longer, whatever the server asks for.
    pub longest_pause: Duration,
    /// No answer may take longer, however steadily it trickles.
    pub longest_answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 3,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            longest_answer: Duration::from_secs(1800),
        }
    }
}

/// [`Web`] over a [`Transport`].
pub struct Browser<'a> {
    transport: &'a dyn Transport,
    clock: &'a dyn Clock,
    cache: &'a dyn Cache,
    patience: Patience,
}

/// Why a try failed.
enum Failed {
    Again { problem: Problem, pause: Option<Duration> },
    Final(FetchError),
}

enum Problem {
    Status(u16),
    Words(String),
}

impl<'a> Browser<'a> {
    /// Asks over `transport`, waits by `clock`, remembers in `cache`.
    #[must_use]
    pub fn new(
        transport: &'a dyn Transport,
        clock: &'a dyn Clock,
        cache: &'a dyn Cache,
        patience: Patience,
    ) -> Self {
        Self { transport, clock, cache, patience }
    }

    fn try_once(&self, url: &str, reduce: Reduce<'_>) -> Result<Fetched, Failed> {
        let again = |problem: String| Failed::Again { problem: Problem::Words(problem), pause: None };
        let kept = self.cache.get(url);
        let known = kept.as_ref().map_or_else(Validators::default, |kept| kept.validators.clone());
        let answer = self.transport.send(url, &known).map_err(again)?;
        let Answer { status, validators, as_of, retry_after, end_is_marked, body } = answer;
        if let (304, Some(Cached { as_of, body, .. })) = (status, kept) {
            return Ok(Fetched { body, as_of, unchanged: true });
        }
        if !(200..300).contains(&status) {
            return Err(if status >= 500 || status == 429 || status == 408 {
                Failed::Again { problem: Problem::Status(status), pause: retry_after }
            } else {
                Failed::Final(FetchError::Status { url: url.to_owned(), status, tries: 1 })
            });
        }
        let broken = |line: u64, problem: String| {
            Failed::Final(FetchError::NotACatalogue { url: url.to_owned(), line, problem })
        };
        let as_of = as_of.ok_or_else(|| broken(0, "the answer carries no date".to_owned()))?;
        let mut timed = Timed {
            body,
            clock: self.clock,
            started: self.clock.elapsed(),
            limit: self.patience.longest_answer,
        };
        let body = reduce(&mut timed).map_err(|error| match error {
            BodyError::Io(error) => again(format!("the answer broke off: {}", chain(&error))),
            BodyError::NotACatalogue { line, problem } => broken(line, problem),
        })?;
        // Where the end is not marked, half a document could stay under its version for ever.
        if end_is_marked && validators != Validators::default() {
            self.cache.put(url, &Cached { validators, as_of, body: body.clone() });
        }
        Ok(Fetched { body, as_of, unchanged: false })
    }
}

impl Web for Browser<'_> {
    fn get(&self, url: &str, reduce: Reduce<'_>) -> Result<Fetched, FetchError> {
        let mut pause = self.patience.first_pause;
        let mut tries = 0;
        loop {
            tries += 1;
            let (problem, asked) = match self.try_once(url, reduce) {
                Ok(fetched) => return Ok(fetched),
                Err(Failed::Final(FetchError::Status { url, status, .. })) => {
                    return Err(FetchError::Status { url, status, tries });
                }
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Again { problem, pause }) => (problem, pause),
            };
            if tries >= self.patience.tries {
                let url = url.to_owned();
                return Err(match problem {
                    Problem::Status(status) => FetchError::Status { url, status, tries },
                    Problem::Words(problem) => FetchError::NoAnswer { url, problem, tries },
                });
            }
            self.clock.sleep(asked.unwrap_or(pause).max(pause).min(self.patience.longest_pause));
            pause = pause.saturating_mul(2);
        }
    }
}

/// A body that must come to an end.
struct Timed<'a> {
    body: Box<dyn Read>,
    clock: &'a dyn Clock,
    started: Duration,
    limit: Duration,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.clock.elapsed().saturating_sub(self.started) > self.limit {
            let problem = format!("not at its end after {:?}", self.limit);
            return Err(io::Error::new(io::ErrorKind::TimedOut, problem));
        }
        self.body.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    use chrono::NaiveDate;

    use super::super::whole;
    use super::*;

    type Script = Result<(u16, &'static str, Option<u64>), &'static str>;

    /// Answers from a script, front first, and remembers what was asked.
    struct Scripted {
        answers: RefCell<Vec<Script>>,
        asked: RefCell<Vec<Validators>>,
    }

    impl Scripted {
        fn new(answers: &[Script]) -> Self {
            Self { answers: RefCell::new(answers.to_vec()), asked: RefCell::default() }
        }
    }

    impl Transport for Scripted {
        fn send(&self, _url: &str, known: &Validators) -> Result<Answer, String> {
            self.asked.borrow_mut().push(known.clone());
            let (status, body, retry_after) = self.answers.borrow_mut().remove(0)?;
            Ok(Answer {
                status,
                validators: Validators { etag: Some("\"one\"".into()), last_modified: None },
                as_of: NaiveDate::from_ymd_opt(2026, 8, 4),
                retry_after: retry_after.map(Duration::from_secs),
                end_is_marked: true,
                body: Box::new(body.as_bytes()),
            })
        }
    }

    /// Never really waits; each look at it takes a second.
    #[derive(Default)]
    struct Fake {
        looks: Cell<u64>,
        pauses: RefCell<Vec<u64>>,
    }

    impl Clock for Fake {
        fn elapsed(&self) -> Duration {
            self.looks.set(self.looks.get() + 1);
            Duration::from_secs(self.looks.get())
        }

        fn sleep(&self, pause: Duration) {
            self.pauses.borrow_mut().push(pause.as_secs());
        }
    }

    #[derive(Default)]
    struct Memory(RefCell<BTreeMap<String, Cached>>);

    impl Cache for Memory {
        fn get(&self, url: &str) -> Option<Cached> {
            self.0.borrow().get(url).cloned()
        }

        fn put(&self, url: &str, cached: &Cached) {
            self.0.borrow_mut().insert(url.to_owned(), cached.clone());
        }
    }

    fn tried(answers: &[Script], tries: u32) -> (Result<Fetched, FetchError>, Vec<u64>) {
        let (transport, clock) = (Scripted::new(answers), Fake::default());
        let patience = Patience { tries, ..Patience::default() };
        let got = Browser::new(&transport, &clock, &super::super::NoCache, patience).get("http://x", &whole);
        (got, clock.pauses.into_inner())
    }

    #[test]
    fn a_busy_server_is_asked_again_after_growing_pauses() {
        let busy = Ok((503, "", None));
        let (got, pauses) = tried(&[busy, busy, Err("no route"), Ok((200, "hello", None))], 4);
        assert_eq!(got.expect("the fourth answer").body, b"hello");
        assert_eq!(pauses, [1, 2, 4]);
    }

    #[test]
    fn it_is_given_up_after_the_last_try_without_a_pause() {
        let busy = Ok((500, "", None));
        let (got, pauses) = tried(&[busy, busy, busy], 3);
        assert_eq!(got.expect_err("busy").to_string(), "http://x: answered 500 (3 tries)");
        assert_eq!(pauses, [1, 2]);
        let (got, pauses) = tried(&[Err("no route")], 1);
        assert_eq!(got.expect_err("no route").to_string(), "http://x: no route (1 try)");
        assert!(pauses.is_empty());
    }

    #[test]
    fn the_server_may_ask_for_a_longer_pause_but_not_for_ever() {
        let (_, pauses) =
            tried(&[Ok((429, "", Some(7))), Ok((429, "", Some(86_400))), Ok((200, "", None))], 3);
        assert_eq!(pauses, [7, 60]);
    }

    #[test]
    fn a_missing_page_is_not_asked_for_again() {
        let (got, pauses) = tried(&[Ok((404, "", None))], 3);
        assert_eq!(got.expect_err("404").to_string(), "http://x: answered 404 (1 try)");
        assert!(pauses.is_empty());
    }

    #[test]
    fn what_did_not_change_is_not_sent_again() {
        let transport =
            Scripted::new(&[Ok((200, "hello", None)), Ok((304, "", None)), Ok((200, "new", None))]);
        let (clock, memory) = (Fake::default(), Memory::default());
        let browser = Browser::new(&transport, &clock, &memory, Patience::default());
        let first = browser.get("http://x", &whole).expect("first");
        let second = browser.get("http://x", &whole).expect("second");
        assert_eq!((second.body, second.as_of, second.unchanged), (first.body, first.as_of, true));
        assert_eq!(browser.get("http://x", &whole).expect("third").body, b"new");
        let asked = transport.asked.borrow();
        assert_eq!(asked[0], Validators::default());
        assert_eq!(asked[1].etag.as_deref(), Some("\"one\""));
    }

    #[test]
    fn an_answer_that_trickles_for_ever_is_cut_off() {
        let transport = Scripted::new(&[Ok((200, "hello", None))]);
        let clock = Fake::default();
        let patience = Patience { tries: 1, longest_answer: Duration::ZERO, ..Patience::default() };
        let error = Browser::new(&transport, &clock, &super::super::NoCache, patience)
            .get("http://x", &whole)
            .expect_err("too slow");
        assert!(error.to_string().contains("not at its end after"), "{error}");
    }

    #[test]
    fn what_is_no_catalogue_is_not_asked_for_again() {
        let transport = Scripted::new(&[Ok((200, "<html>", None))]);
        let clock = Fake::default();
        let refuse: Reduce<'_> =
            &|_| Err(BodyError::NotACatalogue { line: 3, problem: "not a price list".into() });
        let error = Browser::new(&transport, &clock, &super::super::NoCache, Patience::default())
            .get("http://x", refuse)
            .expect_err("HTML");
        assert_eq!(error.to_string(), "http://x: line 3: not a price list");
        assert!(clock.pauses.borrow().is_empty());
    }
}
