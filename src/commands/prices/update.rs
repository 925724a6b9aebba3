//! `prices update`: today's prices into a price table. Rows of feeds that do not answer stay as they are.

use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use shoestring_planner::names::UnknownName;
use shoestring_planner::offer;
use shoestring_planner::prices::{
    self, AwsBulk, AzureRetail, Batch, Browser, Cache, Clock, FeedResult, GPUHUNT_CLOUDS, Gpuhunt, Http,
    NoCache, Patience, PriceSource, SKYPILOT_CLOUDS, SkyPilot, SpotAdvisor, Table,
};

use super::cache::{Folder, default_folder};
use super::table_of;
use crate::cli::{Format, PricesSource, PricesUpdateArgs};
use crate::commands::today;
use crate::failure::{Exit, Failure};
use crate::output::{Printer, complain, write_file};

/// The machine's own clock.
struct SystemClock(Instant);

impl Clock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, pause: Duration) {
        thread::sleep(pause);
    }
}

pub(crate) fn update(args: &PricesUpdateArgs, printer: Printer) -> Result<Exit, Failure> {
    let sources = sources(args)?;
    let mut table = table_of(&args.out)?;
    let http =
        Http::new(args.timeout).map_err(|problem| anyhow::anyhow!("no client for the network: {problem}"))?;
    let clock = SystemClock(Instant::now());
    let folder = args.cache.clone().or_else(default_folder).map(|path| Folder::new(&path));
    let cache: &dyn Cache = match &folder {
        Some(folder) => folder,
        None => &NoCache,
    };
    let patience = Patience { tries: args.tries, first_pause: args.pause, ..Patience::default() };
    let browser = Browser::new(&http, &clock, cache, patience);
    let results = prices::update(&sources, &browser, &table, |feed| printer.note(&format!("asking {feed}")));
    let kept = kept(&table, &results);
    let answered = results.iter().filter(|result| result.outcome.is_ok()).count();
    for result in &results {
        if let Ok(batch) = &result.outcome {
            table.take(&result.feed, batch);
        }
    }
    if answered > 0 {
        write_file(&args.out, table.csv().as_bytes())?;
    }
    match args.format {
        Format::Text => printer.data(&text(args, &results, &kept, &table))?,
        Format::Json => printer.json(&object(args, &results, &kept, &table))?,
    }
    said(&results, &kept, args, printer);
    Ok(match answered {
        0 => Exit::Failure,
        all if all == results.len() && results.iter().all(is_whole) => Exit::Success,
        _ => Exit::Partial,
    })
}

/// Whether every part of a feed answered.
fn is_whole(result: &FeedResult) -> bool {
    result.outcome.as_ref().is_ok_and(|batch| batch.not_answered.is_empty())
}

/// Rows that stay because their feed did not answer, with the oldest day among them.
struct Kept {
    feed: String,
    rows: usize,
    oldest: String,
}

fn kept(old: &Table, results: &[FeedResult]) -> Vec<Kept> {
    results
        .iter()
        .filter(|result| result.outcome.is_err())
        .map(|result| Kept {
            feed: result.feed.clone(),
            rows: old.of(&result.feed).count(),
            oldest: old.of(&result.feed).map(|row| row.as_of.clone()).min().unwrap_or_default(),
        })
        .collect()
}

fn sources(args: &PricesUpdateArgs) -> Result<Vec<Box<dyn PriceSource>>, Failure> {
    let base = |source: PricesSource, published: &str| -> String {
        let stated = args.url.iter().rev().find(|(of, _)| *of == source);
        stated.map_or_else(|| published.to_owned(), |(_, url)| url.clone())
    };
    let wants = |source| args.source.contains(&source);
    if let Some((source, url)) = args.url.iter().find(|(source, _)| !wants(*source)) {
        return Err(Failure::usage(format!("--url {source:?}={url}: the source is not asked"))
            .hint("name it with --source as well".to_owned()));
    }
    let mut sources: Vec<Box<dyn PriceSource>> = Vec::new();
    let (mut known, mut used) = (Vec::new(), Vec::new());
    let mut clouds = |of: &[&'static str]| -> Vec<String> {
        known.extend_from_slice(of);
        let chosen = chosen(&args.cloud, of);
        used.extend(chosen.iter().cloned());
        chosen
    };
    if wants(PricesSource::Skypilot) {
        let base = base(PricesSource::Skypilot, SkyPilot::BASE);
        sources.push(Box::new(SkyPilot { base, clouds: clouds(&SKYPILOT_CLOUDS) }));
    }
    if wants(PricesSource::Gpuhunt) {
        let base = base(PricesSource::Gpuhunt, Gpuhunt::BASE);
        sources.push(Box::new(Gpuhunt { base, clouds: clouds(&GPUHUNT_CLOUDS) }));
    }
    if let Some(unknown) = args.cloud.iter().find(|cloud| {
        let name = other_name(cloud);
        !known.is_empty() && *cloud != "all" && !used.contains(cloud) && !used.iter().any(|one| one == name)
    }) {
        let error = UnknownName::new("cloud", unknown, known.iter().copied());
        let hint = error.hint().unwrap_or_else(|| format!("known are: all, {}", known.join(", ")));
        return Err(Failure::new(Exit::Usage, error).hint(hint));
    }
    if wants(PricesSource::Azure) {
        sources.push(Box::new(AzureRetail { base: base(PricesSource::Azure, AzureRetail::BASE) }));
    }
    if let Some(region) = args.region.iter().find(|region| !is_name(region)) {
        return Err(Failure::usage(format!("--region {region}: not the name of a region"))
            .hint("as us-east-1".to_owned()));
    }
    if wants(PricesSource::Aws) {
        let base = base(PricesSource::Aws, AwsBulk::BASE);
        sources.push(Box::new(AwsBulk { base, regions: args.region.clone() }));
    }
    // Last, since it reckons from the prices of the others.
    if wants(PricesSource::AwsSpot) {
        sources.push(Box::new(SpotAdvisor { url: base(PricesSource::AwsSpot, SpotAdvisor::URL) }));
    }
    Ok(sources)
}

/// The clouds wanted that a source has.
fn chosen(wanted: &[String], of: &[&'static str]) -> Vec<String> {
    of.iter()
        .filter(|cloud| {
            wanted.iter().any(|name| name == "all" || name == *cloud || other_name(name) == **cloud)
        })
        .map(|cloud| (*cloud).to_owned())
        .collect()
}

/// gpuhunt calls Lambda by its old name.
fn other_name(cloud: &str) -> &str {
    if cloud == "lambda" { "lambdalabs" } else { cloud }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

fn age(as_of: &str) -> String {
    match offer::age_days(as_of, today()) {
        Some(days) => format!("{as_of}, {days} days old"),
        None => as_of.to_owned(),
    }
}

fn newest(batch: &Batch) -> String {
    batch.rows.iter().map(|row| row.as_of.as_str()).max().unwrap_or_default().to_owned()
}

fn text(args: &PricesUpdateArgs, results: &[FeedResult], kept: &[Kept], table: &Table) -> String {
    let mut out = String::new();
    for result in results {
        match &result.outcome {
            Ok(batch) => {
                let _ = writeln!(
                    out,
                    "{:<22} {:>5} offers of {}{}{}",
                    result.feed,
                    batch.rows.len(),
                    age(&newest(batch)),
                    if batch.unchanged { ", unchanged since last time" } else { "" },
                    match batch.refused.len() {
                        0 => String::new(),
                        count => format!("; {count} refused"),
                    }
                );
                if !batch.not_answered.is_empty() {
                    let names: Vec<&str> = batch.not_answered.iter().map(|part| part.what.as_str()).collect();
                    let _ = writeln!(
                        out,
                        "{:<22} {:>5} machine types did not answer, their last good prices stay: {}",
                        "",
                        names.len(),
                        names.join(", ")
                    );
                }
            }
            Err(_) => {
                let words = match kept.iter().find(|one| one.feed == result.feed) {
                    Some(one) if one.rows > 0 => {
                        format!("{} offers of {} stay", one.rows, age(&one.oldest))
                    }
                    _ => "nothing at hand".to_owned(),
                };
                let _ = writeln!(out, "{:<22} failed: {words}", result.feed);
            }
        }
    }
    let out_file = args.out.display();
    if results.iter().any(|result| result.outcome.is_ok()) {
        let _ =
            writeln!(out, "{out_file}: {} rows; plan with them by `--prices {out_file}`", table.rows.len());
    } else {
        let _ = writeln!(out, "{out_file}: not touched");
    }
    out
}

/// Refusals and failures, on stderr.
fn said(results: &[FeedResult], kept: &[Kept], args: &PricesUpdateArgs, printer: Printer) {
    for result in results {
        let Ok(batch) = &result.outcome else { continue };
        if args.refused {
            for refused in &batch.refused {
                let line = refused.line.map_or(String::new(), |line| format!(" line {line}"));
                complain(&format!("{}:{line} {}: {}", result.feed, refused.what, refused.reason));
            }
        } else {
            for (reason, count) in batch.reasons() {
                printer.note(&format!("{}: refused {count}: {reason}", result.feed));
            }
        }
        for part in &batch.not_answered {
            complain(&format!("error: {}: {}: {}", result.feed, part.what, part.why));
        }
        for (about, count) in &batch.passed_over {
            printer.note(&format!("{}: passed over {count}: {about}", result.feed));
        }
    }
    for result in results {
        let Err(error) = &result.outcome else { continue };
        complain(&format!("error: {}: {error}", result.feed));
        if let Some(hint) = error.hint() {
            complain(&format!("hint: {hint}"));
        }
    }
    let failed: Vec<&str> = kept.iter().map(|one| one.feed.as_str()).collect();
    if !failed.is_empty() {
        complain(&format!(
            "{} of {} feeds failed: {}; their last good prices stay",
            failed.len(),
            results.len(),
            failed.join(", ")
        ));
    }
}

fn object(
    args: &PricesUpdateArgs,
    results: &[FeedResult],
    kept: &[Kept],
    table: &Table,
) -> serde_json::Value {
    let feed = |result: &FeedResult| match &result.outcome {
        Ok(batch) => json!({
            "feed": result.feed, "ok": true, "offers": batch.rows.len(), "as_of": newest(batch),
            "unchanged": batch.unchanged, "refused_by_reason": batch.reasons(),
            "passed_over": batch.passed_over,
            "not_answered": batch.not_answered.iter().map(|part| json!({
                "instance_type": part.what, "error": part.why,
            })).collect::<Vec<_>>(),
            "refused": if args.refused { batch.refused.iter().map(|refused| json!({
                "line": refused.line, "what": refused.what, "reason": refused.reason.to_string(),
            })).collect::<Vec<_>>() } else { Vec::new() },
        }),
        Err(error) => {
            let stays = kept.iter().find(|one| one.feed == result.feed);
            json!({
                "feed": result.feed, "ok": false, "error": error.to_string(),
                "kept_offers": stays.map_or(0, |one| one.rows),
                "kept_as_of": stays.map(|one| one.oldest.as_str()).filter(|day| !day.is_empty()),
            })
        }
    };
    json!({
        "schema": "shoestring.prices_update", "version": 1, "file": args.out.to_string_lossy(),
        "rows": table.rows.len(), "feeds": results.iter().map(feed).collect::<Vec<_>>(),
    })
}
