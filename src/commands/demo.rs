//! The tour: nothing but the public verbs, one after the other, each echoed as a user would type it.

use clap::Parser;

use super::dispatch;
use crate::cli::{Cli, DemoArgs};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

pub(crate) fn demo(args: &DemoArgs, printer: Printer) -> Result<Exit, Failure> {
    let folder = args.dir.to_string_lossy().into_owned();
    let path = |name: &str| format!("{folder}/{name}");
    let budget = args.budget.dollars().to_string();
    let price = args.price.dollars().to_string();
    let (data, machine, recipe) = (path("data"), path("machine.toml"), path("recipe.toml"));
    let (run, report) = (path("run"), path("report"));

    let mut tour = Tour { printer };
    tour.say("What would 10,000 USD buy at today's prices?")?;
    tour.step(&["plan", "--budget", "10000"])?;
    tour.say("Now a few cents on this machine. First some data: drawn, captioned, some classes held out.")?;
    tour.step(&["data", "synth", "--out", &data])?;
    // A second demo resumes the first: the measurement is part of what it resumes.
    if std::fs::exists(&machine).unwrap_or(false) {
        tour.say(&format!("This machine was measured before ({machine})."))?;
    } else {
        tour.say("How fast is this machine? Real training steps, timed.")?;
        tour.step(&["calibrate", "--out", &machine])?;
    }
    tour.say(&format!("The best plan for {budget} USD here, at {price} USD per hour."))?;
    tour.step(&[
        "plan",
        "--budget",
        &budget,
        "--offer",
        "this-machine",
        "--price",
        &price,
        "--calibration",
        &machine,
        "--data",
        &data,
        "--out",
        &recipe,
    ])?;
    tour.say("Carry it out: short tokens first, full tokens last, never over the cap.")?;
    tour.step(&["run", &recipe, "--dir", &run])?;
    tour.say("Where it stands, and where the money went.")?;
    tour.step(&["status", &run])?;
    tour.step(&["ledger", "show", &run])?;
    tour.say("And the report.")?;
    tour.step(&["report", &run, "--out", &report])?;
    Ok(Exit::Success)
}

struct Tour {
    printer: Printer,
}

impl Tour {
    fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.printer.data(&format!("\n# {text}"))
    }

    /// Echoes a command and carries it out by the same path as if it had been typed.
    fn step(&mut self, words: &[&str]) -> Result<(), Failure> {
        self.printer.data(&format!("$ shoestring {}\n", words.join(" ")))?;
        let cli = Cli::try_parse_from(std::iter::once(&"shoestring").chain(words))?;
        match dispatch(cli, self.printer)? {
            // The cap is part of the tour: what it cut short is shown by the next steps.
            Exit::Success | Exit::CapReached => Ok(()),
            exit => Err(Failure::new(
                exit,
                anyhow::anyhow!(
                    "the tour stopped at `shoestring {}` (exit code {})",
                    words.join(" "),
                    exit.code()
                ),
            )
            .hint("`shoestring demo` goes on where it stopped".to_owned())),
        }
    }
}
