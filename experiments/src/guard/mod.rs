//! The cap around any other command: its time is money, and it is stopped before there is none left.
//!
//! # Who watches whom
//! The guard starts a *keeper*, the keeper starts the command in a process group of its own. The keeper is
//! the reaper of everything that the command starts, however it detaches itself, so that the time of a daemon
//! is counted like that of its parent. If the guard dies, even by SIGKILL, the keeper ends everything at
//! once; if the keeper dies, the kernel ends the command and the guard the rest; what both left behind is
//! found by its environment and ended by the next start.
//!
//! # Money
//! A quantum is set aside before its time begins, and the guard holds a lease for it ([`crate::lease`]):
//! stopped for longer than it, the guard is ended by the kernel and the command by the keeper. So a guard
//! that died is charged its open quantum in full, which is never less than the command had. Grace and
//! stopping are held back from the first quantum on.

mod keeper;
mod tree;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use shoestring_ledger::{BudgetGuard, Clock, Kind, Purpose, ReserveError, Terms};
use shoestring_planner::recipe::Billing;
use shoestring_planner::units::Usd;
use signal_hook::iterator::Signals;

pub use self::keeper::keep;
use crate::lease::Lease;
use crate::money;
use crate::run::ending::Ended;
use crate::run::{RunDirectory, RunError, RunLock};
use crate::till::Till;

/// Set in the command and everything that it starts: the folder of its guard.
pub const MARK: &str = "SHOESTRING_GUARD";
/// Part of the cap, or of what is left of a smaller budget, that a quantum is, and its bounds in seconds.
const QUANTUM_OF_CAP: f64 = 0.01;
const SHORTEST_QUANTUM: f64 = 2.0;
const LONGEST_QUANTUM: f64 = 60.0;
/// From SIGKILL until everything is gone.
const KILL_SECONDS: f64 = 1.5;
/// How often the guard looks.
const TICK: Duration = Duration::from_millis(50);
/// What the rows are booked under.
const STAGE: &str = "guard";

/// A command under a cap.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// The number that is never exceeded.
    pub cap: Usd,
    /// Price of everything together, per hour.
    pub usd_per_hour: Usd,
    /// Where the price is from.
    pub price_source: String,
    /// Day, month or year of the price; `None` is unknown.
    pub price_as_of: Option<String>,
    /// A shared budget that everything must also fit into.
    pub budget: Option<PathBuf>,
    /// Billing periods.
    pub billing: Billing,
    /// Seconds between the warning and the end.
    pub grace_seconds: f64,
    /// Number of the signal that warns.
    pub warning: i32,
    /// Where ledger, lock and log lie.
    pub directory: PathBuf,
    /// How this program is started as a keeper; the two channels' numbers and the command follow.
    pub keeper: Vec<OsString>,
}

/// How a guarded command ended.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardSummary {
    /// How the guard let go of it.
    pub ended: GuardEnd,
    /// The command's exit code, or 128 and the number of the signal that ended it; `None` if it never
    /// started.
    pub exit_code: Option<i32>,
    /// Settled and reserved money of everything under this cap.
    pub spent: Usd,
    /// The cap.
    pub cap: Usd,
    /// Seconds from the start of the guard to the end of the last process.
    pub seconds: f64,
    /// Whether it was warned.
    pub warned: bool,
    /// Whether it had to be killed.
    pub killed: bool,
    /// The folder.
    pub directory: PathBuf,
}

/// Why a guarded command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardEnd {
    /// By itself.
    Finished,
    /// The cap.
    CapReached,
    /// A signal to the guard that was passed on.
    Interrupted,
}

impl GuardEnd {
    /// In one word, as JSON has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.ended().note()
    }

    fn ended(self) -> Ended {
        match self {
            Self::Finished => Ended::Finished,
            Self::CapReached => Ended::CapReached,
            Self::Interrupted => Ended::Interrupted,
        }
    }
}

/// Runs a command under its cap; returns when nothing of it is left. `say` tells a person what happens.
pub fn guard(
    order: &Guarded,
    clock: &Arc<dyn Clock>,
    lease: &Arc<dyn Lease>,
    say: &mut dyn FnMut(&str),
) -> Result<GuardSummary, RunError> {
    fs::create_dir_all(&order.directory)
        .map_err(|source| RunError::file(&order.directory, "create", source))?;
    let root = fs::canonicalize(&order.directory)
        .map_err(|source| RunError::file(&order.directory, "find", source))?;
    let directory = RunDirectory::new(&root);
    let (_lock, _) = RunLock::take(&root, &directory.lock())?;
    // Before the first thread: everything is caught from here on.
    let mut signals = Signals::new(FORWARDED).map_err(|source| RunError::file(&root, "watch", source))?;
    prctl::set_child_subreaper(true)
        .map_err(|error| RunError::file(&root, "become the reaper of", error.into()))?;
    let name = order.command.first().map(|name| Path::new(name).file_name().unwrap_or(name));
    let terms = Terms {
        run: name.unwrap_or_default().to_string_lossy().into_owned(),
        cap: order.cap,
        usd_per_hour: order.usd_per_hour,
        price_source: order.price_source.clone(),
        price_as_of: order.price_as_of.clone(),
    };
    let budget = order.budget.as_deref();
    let (mut guard, told) = money::open(&directory.ledger(), clock, terms, Duration::ZERO, budget)?;
    for text in &told {
        say(text);
    }
    end_survivors(&mut guard, &root, clock.now(), say)?;
    guard.set_billing(order.billing);
    let words: Vec<_> = order.command.iter().map(|word| word.to_string_lossy()).collect();
    guard.note(STAGE, 0, format!("command: {}", words.join(" ")))?;
    let till = Till::new(guard, Some(Arc::new(Early(Arc::clone(lease)))));
    let mut watch = Watch {
        order,
        clock: clock.as_ref(),
        till: &till,
        quantum: 0.0,
        last: false,
        warned_at: None,
        killed: false,
        interrupted_at: None,
        exit_code: None,
        gone: false,
    };
    let summary = watch.run(&root, &mut signals, say);
    if summary.is_err() {
        // Whatever went wrong, nothing goes on unaccounted.
        tree::end_all(&root);
        till.settle(0)?;
    }
    summary
}

/// A guard is ended so long before its keeper that the keeper can still end everything else.
const EARLIER_SECONDS: f64 = 0.75;

/// The lease of a guard.
#[derive(Debug)]
struct Early(Arc<dyn Lease>);

impl Lease for Early {
    fn renew(&self, seconds: f64) {
        self.0.renew(seconds - EARLIER_SECONDS);
    }

    fn lapse(&self, why: &str) {
        self.0.lapse(why);
    }
}

/// The signals that are passed on to the command.
const FORWARDED: [i32; 6] = [
    signal_hook::consts::SIGTERM,
    signal_hook::consts::SIGINT,
    signal_hook::consts::SIGHUP,
    signal_hook::consts::SIGQUIT,
    signal_hook::consts::SIGUSR1,
    signal_hook::consts::SIGUSR2,
];

/// Ends what a guard left behind that died together with its keeper. The rule for its time: the quantum that
/// was open is charged in full already; if anything is found alive, the time from the last row until now is
/// charged as well, up to the cap.
fn end_survivors(
    guard: &mut BudgetGuard,
    root: &Path,
    now: DateTime<Utc>,
    say: &mut dyn FnMut(&str),
) -> Result<(), RunError> {
    let ended = tree::end_all(root);
    if ended == 0 {
        return Ok(());
    }
    let last = guard.rows().iter().rev().find(|row| row.kind == Kind::Reserve).map_or(now, |row| row.time);
    let seconds = (now - last).num_milliseconds().max(0) as f64 / 1e3;
    let note = format!("{ended} processes outlived their guard: charged until they were ended");
    let amount = guard.cost_of_seconds(seconds);
    guard.spend(STAGE, 0, Purpose::Command, amount, seconds, &note)?;
    say(&format!("{note}, {seconds:.1} s"));
    Ok(())
}

/// A command being watched.
struct Watch<'a> {
    order: &'a Guarded,
    clock: &'a dyn Clock,
    till: &'a Till,
    /// Seconds of a quantum.
    quantum: f64,
    /// All that is left is set aside.
    last: bool,
    warned_at: Option<f64>,
    killed: bool,
    interrupted_at: Option<f64>,
    exit_code: Option<i32>,
    /// Nothing of the command is left.
    gone: bool,
}

impl Watch<'_> {
    fn now(&self) -> f64 {
        self.clock.elapsed().as_secs_f64()
    }

    /// What is held back for the end, in seconds.
    fn hold(&self) -> f64 {
        self.order.grace_seconds + KILL_SECONDS
    }

    fn run(
        &mut self,
        root: &Path,
        signals: &mut Signals,
        say: &mut dyn FnMut(&str),
    ) -> Result<GuardSummary, RunError> {
        let affordable = self.till.with(|guard| {
            let cap = guard.account().cap();
            guard.seconds_of_work_for(guard.budget().map_or(cap, |budget| cap.min(budget.left())))
        });
        self.quantum = (QUANTUM_OF_CAP * affordable).clamp(SHORTEST_QUANTUM, LONGEST_QUANTUM);
        if !self.roll()? {
            let left = self.till.left();
            say(&format!("the cap is reached: {left} USD are left, too little for grace and stopping"));
            return self.end(root, GuardEnd::CapReached);
        }
        let mut channel = Channel::start(self.order, root)?;
        loop {
            channel.renew(self.till.seconds_left());
            for event in channel.events(TICK) {
                self.take(event, root, say)?;
            }
            for signal in signals.pending() {
                self.interrupted_at.get_or_insert(self.now());
                say(&format!("signal {signal} is passed on"));
                channel.signal(signal);
            }
            if self.gone {
                break;
            }
            self.spend(&mut channel, root, say)?;
            for warning in self.till.with(money::warnings)? {
                say(&warning);
            }
        }
        let end = if self.warned_at.is_some() {
            GuardEnd::CapReached
        } else if self.interrupted_at.is_some() {
            GuardEnd::Interrupted
        } else {
            GuardEnd::Finished
        };
        self.end(root, end)
    }

    fn take(&mut self, event: Event, root: &Path, say: &mut dyn FnMut(&str)) -> Result<(), RunError> {
        match event {
            Event::Exited(code) => self.exit_code = Some(code),
            Event::Gone => self.gone = true,
            Event::NotStarted(errno) => {
                self.gone = true;
                self.till.settle(0)?;
                self.till.with(|guard| guard.end(STAGE, 0, GuardEnd::Finished.ended().note()))?;
                let program = PathBuf::from(self.order.command.first().cloned().unwrap_or_default());
                return Err(RunError::file(&program, "start", std::io::Error::from_raw_os_error(errno)));
            }
            Event::KeeperDied => {
                say("the keeper died: everything it kept is ended");
                tree::end_all(root);
                self.exit_code.get_or_insert(128 + nix::libc::SIGKILL);
                self.gone = true;
            }
        }
        Ok(())
    }

    /// Sets the next quantum aside in time; warns and kills when there is no next one.
    fn spend(
        &mut self,
        channel: &mut Channel,
        root: &Path,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), RunError> {
        let left = self.till.seconds_left();
        // What is left of a shared budget may be gone a moment later: there the time for the end is part of
        // every quantum.
        let held = if self.order.budget.is_some() { self.hold() } else { 0.0 };
        if !self.last && left < held + self.quantum / 2.0 && !self.roll()? {
            // All that is left is for the end.
            self.last = true;
            self.set_aside_all()?;
            self.warned_at = Some(self.now());
            say(&format!(
                "the cap is near: warned with signal {}, ended in {:.0} s",
                self.order.warning, self.order.grace_seconds
            ));
            channel.signal(self.order.warning);
        }
        let over = |since: Option<f64>| since.is_some_and(|at| self.now() >= at + self.order.grace_seconds);
        let at_the_end = self.last && self.till.seconds_left() < KILL_SECONDS;
        if !self.killed && (at_the_end || over(self.warned_at) || over(self.interrupted_at)) {
            self.killed = true;
            say("the grace is over: killed");
            channel.kill();
        }
        if self.killed && self.last && self.till.seconds_left() < KILL_SECONDS / 2.0 {
            // The keeper does not get it done; this does not rely on it.
            tree::end_all(root);
        }
        Ok(())
    }

    /// Settles and sets the next quantum aside, or what of it fits beside what is held. Not when there is
    /// none.
    fn roll(&mut self) -> Result<bool, RunError> {
        if self.order.budget.is_some() {
            return self.roll_within_budget();
        }
        self.till.settle(0)?;
        let hold = self.hold();
        let room = self.till.with(|guard| guard.seconds_of_work_for(guard.left())) - hold;
        let seconds = self.quantum.min(room);
        if seconds < SHORTEST_QUANTUM / 10.0 {
            return Ok(false);
        }
        let (amount, kept) = self.till.cost_of_next(seconds, hold);
        Ok(granted(self.till.reserve(STAGE, 0, Purpose::Command, amount, kept, kept))?.is_some())
    }

    /// The same with the time for the end in every quantum. Where the budget has no room for the open quantum and the
    /// next one beside it, what room there is makes the open one longer.
    fn roll_within_budget(&mut self) -> Result<bool, RunError> {
        let seconds = self.quantum + self.hold();
        if granted(self.till.roll(STAGE, Purpose::Command, seconds))?.is_some() {
            return Ok(true);
        }
        let longer = granted(self.till.stretch(0, seconds))?;
        Ok(longer.is_some_and(|longer| longer >= SHORTEST_QUANTUM / 10.0))
    }

    fn set_aside_all(&mut self) -> Result<(), RunError> {
        if self.order.budget.is_some() {
            return Ok(());
        }
        granted(self.till.reserve(STAGE, 0, Purpose::Command, self.till.left(), Usd::ZERO, Usd::ZERO))?;
        Ok(())
    }

    fn end(&mut self, root: &Path, end: GuardEnd) -> Result<GuardSummary, RunError> {
        self.till.settle(0)?;
        self.till.with(|guard| guard.end(STAGE, 0, end.ended().note()))?;
        let (spent, cap) = self.till.with(|guard| (guard.account().spent(), guard.account().cap()));
        Ok(GuardSummary {
            ended: end,
            exit_code: self.exit_code,
            spent,
            cap,
            seconds: self.now(),
            warned: self.warned_at.is_some(),
            killed: self.killed,
            directory: root.to_owned(),
        })
    }
}

/// What was asked for, or nothing where there is no money for it.
fn granted<T>(asked: Result<T, ReserveError>) -> Result<Option<T>, RunError> {
    match asked {
        Ok(given) => Ok(Some(given)),
        Err(ReserveError::Refused(_)) => Ok(None),
        Err(ReserveError::Ledger(error)) => Err(error.into()),
    }
}

/// What the keeper tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// The command itself has ended; others may be left.
    Exited(i32),
    /// Nothing is left.
    Gone,
    /// The command could not be started.
    NotStarted(i32),
    KeeperDied,
}

/// The guard's ends of the two pipes to its keeper.
struct Channel {
    orders: fs::File,
    news: fs::File,
    half: Vec<u8>,
    open: bool,
}

impl Channel {
    fn start(order: &Guarded, root: &Path) -> Result<Self, RunError> {
        let failed = |source| RunError::file(root, "start a keeper for", source);
        let pipe = || nix::unistd::pipe().map_err(|error| failed(error.into()));
        let ((keeper_reads, orders), (news, keeper_writes)) = (pipe()?, pipe()?);
        for mine in [&orders, &news] {
            close_on_exec(mine).map_err(failed)?;
        }
        let (program, arguments) =
            order.keeper.split_first().ok_or_else(|| failed(std::io::Error::other("no keeper is named")))?;
        Command::new(program)
            .args(arguments)
            .args([keeper_reads.as_raw_fd().to_string(), keeper_writes.as_raw_fd().to_string()])
            .arg("--")
            .args(&order.command)
            .env(MARK, root)
            .stdin(Stdio::inherit())
            .spawn()
            .map_err(failed)?;
        Ok(Self { orders: fs::File::from(orders), news: fs::File::from(news), half: Vec::new(), open: true })
    }

    fn send(&mut self, order: u8, number: u32) {
        let mut bytes = [order, 0, 0, 0, 0];
        bytes[1..].copy_from_slice(&number.to_le_bytes());
        // A keeper that is gone is noticed by its news.
        let _ = self.orders.write_all(&bytes);
    }

    fn signal(&mut self, signal: i32) {
        self.send(keeper::SIGNAL, signal.unsigned_abs());
    }

    fn kill(&mut self) {
        self.send(keeper::KILL, 0);
    }

    /// The keeper has as long as the guard.
    fn renew(&mut self, seconds: f64) {
        // `as` saturates.
        self.send(keeper::LEASE, (seconds.max(0.001) * 1e3) as u32);
    }

    /// What has happened, waiting for at most `patience` if nothing has.
    fn events(&mut self, patience: Duration) -> Vec<Event> {
        use std::io::Read;
        use std::os::fd::AsFd;
        if !self.open {
            return Vec::new();
        }
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        let ready = poll(&mut [PollFd::new(self.news.as_fd(), PollFlags::POLLIN)], timeout);
        if !ready.is_ok_and(|count| count > 0) {
            return Vec::new();
        }
        let mut buffer = [0; 64];
        let count = self.news.read(&mut buffer).unwrap_or(0);
        if count == 0 {
            self.open = false;
            return vec![Event::KeeperDied];
        }
        self.half.extend_from_slice(&buffer[..count]);
        let mut events = Vec::new();
        while self.half.len() >= keeper::MESSAGE_BYTES {
            let message: Vec<u8> = self.half.drain(..keeper::MESSAGE_BYTES).collect();
            let number = i32::from_le_bytes([message[1], message[2], message[3], message[4]]);
            match message[0] {
                keeper::EXITED => events.push(Event::Exited(number)),
                keeper::GONE => events.push(Event::Gone),
                keeper::NOT_STARTED => events.push(Event::NotStarted(number)),
                _ => {}
            }
        }
        events
    }
}

fn close_on_exec(fd: &OwnedFd) -> std::io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}
