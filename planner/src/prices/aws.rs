//! AWS's bulk price list: one CSV of up to several hundred MB for each region, read as a stream of which only
//! the lines about machines with accelerators stay. It counts accelerators but does not name them: the model
//! follows from the machine's family, by the built-in catalogue.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

use super::batch::{Batch, Found, Reason};
use super::row::{Machine, PriceRow, known_machine};
use super::web::BodyError;
use super::{FetchError, PriceSource, Web, broken_csv, column, join, not_empty, number, part, text};
use crate::accelerator::Accelerator;
use crate::offer;

/// Regions asked unless others are named: where most accelerators are.
pub const AWS_REGIONS: [&str; 3] = ["us-east-1", "us-east-2", "us-west-2"];

/// The whole list of all regions is smaller.
const LARGEST_LIST: u64 = 8 << 30;
/// No line of the list is nearly as long.
const LONGEST_LINE: u64 = 64 << 10;
/// What is kept of a list is a thousandth of it.
const LARGEST_KEPT: usize = 64 << 20;

/// AWS's list of some regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsBulk {
    /// Where the regions' folders lie.
    pub base: String,
    /// Regions.
    pub regions: Vec<String>,
}

impl AwsBulk {
    /// Where the list is published.
    pub const BASE: &'static str =
        "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonEC2/current";
}

impl PriceSource for AwsBulk {
    fn feeds(&self) -> Vec<String> {
        self.regions.iter().map(|region| format!("aws/{region}")).collect()
    }

    fn fetch(&self, feed: &str, web: &dyn Web, _known: &[PriceRow]) -> Result<Batch, FetchError> {
        let url = join(&self.base, &format!("{}/index.csv", part(feed)));
        let families = families();
        let fetched = web.get(&url, &|body| skim(body, &families))?;
        let mut batch = read(feed, &url, &text(&fetched.body, &url)?, &fetched.as_of.to_string(), &families)?;
        batch.unchanged = fetched.unchanged;
        Ok(batch)
    }
}

/// Families of machines (`p5` of `p5.48xlarge`) and the accelerator in them.
fn families() -> BTreeMap<&'static str, &'static Accelerator> {
    offer::built_in()
        .iter()
        .filter(|offer| offer.provider == "aws")
        .filter_map(|offer| Some((offer.instance_type.split_once('.')?.0, offer.accelerator)))
        .collect()
}

fn refused(line: u64, problem: impl Into<String>) -> BodyError {
    BodyError::NotACatalogue { line, problem: problem.into() }
}

/// The list's head and its lines that may be on-demand prices of machines of the families.
fn skim(body: &mut dyn Read, families: &BTreeMap<&str, &Accelerator>) -> Result<Vec<u8>, BodyError> {
    let marks: Vec<String> = families.keys().map(|family| format!("\"{family}.")).collect();
    let mut reader = BufReader::with_capacity(1 << 20, body.take(LARGEST_LIST));
    let (mut kept, mut line, mut number) = (Vec::new(), Vec::new(), 0);
    let mut in_head = true;
    loop {
        line.clear();
        number += 1;
        let length = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line)? as u64;
        if length == 0 {
            break;
        }
        if length == LONGEST_LINE {
            return Err(refused(number, format!("a line of more than {LONGEST_LINE} bytes")));
        }
        let keep = in_head || {
            let text = String::from_utf8_lossy(&line);
            text.contains("\"OnDemand\"") && marks.iter().any(|mark| text.contains(mark))
        };
        if keep {
            kept.extend_from_slice(&line);
        }
        if in_head && is_header(&line) {
            in_head = false;
        } else if in_head && number > 20 {
            return Err(refused(number, "no line with the columns of a price list so far"));
        }
        if kept.len() > LARGEST_KEPT {
            return Err(refused(number, "nearly every line is about accelerators"));
        }
    }
    if in_head { Err(refused(number, "no line with the columns of a price list")) } else { Ok(kept) }
}

fn is_header(line: &[u8]) -> bool {
    line.starts_with(b"\"SKU\"") || line.starts_with(b"SKU,")
}

fn read(
    feed: &str,
    url: &str,
    text: &str,
    answered: &str,
    families: &BTreeMap<&'static str, &'static Accelerator>,
) -> Result<Batch, FetchError> {
    // A few lines about the list itself come before its columns.
    let head: Vec<&str> = text.lines().take_while(|line| !is_header(line.as_bytes())).collect();
    let as_of = head
        .iter()
        .find_map(|line| line.strip_prefix("\"Publication Date\",\""))
        .and_then(|rest| rest.get(..10))
        .unwrap_or(answered);
    let head_lines = head.len() as u64;
    let start = head.iter().map(|line| line.len() + 1).sum::<usize>().min(text.len());
    let start = text[start..].find("SKU").map_or(start, |at| start + at.saturating_sub(1));
    let mut reader = csv::Reader::from_reader(&text.as_bytes()[start..]);
    let header = reader.headers().map_err(|error| broken_csv(&error, url))?.clone();
    let needed = |name: &str| column(&header, name, url, head_lines + 1);
    let terms = [
        ("TermType", "OnDemand"),
        ("Tenancy", "Shared"),
        ("Operating System", "Linux"),
        ("CapacityStatus", "Used"),
        ("Pre Installed S/W", "NA"),
    ]
    .map(|(name, wanted)| Ok((needed(name)?, wanted)));
    let terms = terms.into_iter().collect::<Result<Vec<_>, FetchError>>()?;
    let market = needed("MarketOption").ok();
    let [kind, region] = [needed("Instance Type")?, needed("Region Code")?];
    let [price, unit, currency] = [needed("PricePerUnit")?, needed("Unit")?, needed("Currency")?];
    let [vcpus, gpus] = [needed("vCPU")?, needed("GPU")?];
    let mut batch = Batch::default();
    for record in reader.records() {
        let record = record.map_err(|error| broken_csv(&error, url))?;
        let field = |index: usize| record.get(index).unwrap_or_default().trim();
        let as_wanted = |(index, wanted): &(usize, &str)| {
            field(*index) == *wanted || *wanted == "NA" && field(*index).is_empty()
        };
        let sold_so = market.is_none_or(|market| matches!(field(market), "" | "OnDemand"));
        if !terms.iter().all(as_wanted) || !sold_so {
            batch.pass_over("other terms: system, tenancy, software or reservation");
            continue;
        }
        let what = format!("aws/{}/{}", field(kind), field(region));
        if field(currency) != "USD" || field(unit) != "Hrs" {
            let problem = format!("is in {} per `{}`, not in USD per `Hrs`", field(currency), field(unit));
            batch.refuse(None, what, Reason::Unreadable(problem));
            continue;
        }
        let numbers = [price, vcpus, gpus].map(|index| number(&record, Some(index)));
        let [usd_per_hour, cores, count] = match numbers {
            [Ok(usd), Ok(cores), Ok(count)] => [usd, cores, count],
            bad => {
                for reason in bad.into_iter().filter_map(Result::err) {
                    batch.refuse(None, what.clone(), reason);
                }
                continue;
            }
        };
        let known = known_machine("aws", field(kind));
        let count = match (count, known) {
            (Some(count), _) if count >= 1.0 && count.fract() == 0.0 => count as u32,
            (Some(count), _) if count > 0.0 => {
                batch.refuse(None, what, Reason::Fraction(count));
                continue;
            }
            (_, Some(known)) => known.count,
            (_, None) => {
                batch.refuse(None, what, Reason::UnknownMachine(field(kind).to_owned()));
                continue;
            }
        };
        let family = field(kind).split('.').next().unwrap_or_default();
        let Some(accelerator) = families.get(family).copied() else {
            batch.refuse(None, what, Reason::UnknownMachine(field(kind).to_owned()));
            continue;
        };
        let machine = Machine {
            instance_type: field(kind),
            accelerator,
            count,
            vcpus: cores.map(|cores| cores as u32),
        };
        let mut row = PriceRow::new(feed, "aws", field(region), &machine);
        row.as_of = as_of.to_owned();
        row.source = url.to_owned();
        batch.offer(Found { line: None, accelerator, on_demand: usd_per_hour, spot: None, row });
    }
    not_empty(batch, url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Usd;

    const LIST: &str = include_str!("fixtures/aws.csv");

    fn batch(list: &str) -> Result<Batch, String> {
        let families = families();
        let kept = skim(&mut list.as_bytes(), &families).map_err(|error| format!("{error:?}"))?;
        let kept = String::from_utf8(kept).expect("UTF-8");
        read("aws/us-east-1", "http://x", &kept, "2026-08-22", &families).map_err(|error| error.to_string())
    }

    #[test]
    fn only_on_demand_linux_prices_of_known_families_stay() {
        let batch = batch(LIST).expect("a list");
        let rows: Vec<String> = batch
            .rows
            .iter()
            .map(|row| {
                let price = row.on_demand_usd_per_hour.unwrap_or_default();
                format!(
                    "{}: {} x {}, {:?} cores, {price}",
                    row.instance_type, row.count, row.accelerator, row.vcpus
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                "g5.4xlarge: 1 x A10G, Some(16) cores, 1.62",
                "p5.48xlarge: 8 x H100-SXM, Some(192) cores, 55.04"
            ]
        );
        assert_eq!(batch.rows[0].on_demand_usd_per_hour, Some(Usd::from_micros(1_624_000)));
        assert_eq!(batch.rows[0].as_of, "2026-08-20");
        assert_eq!(batch.passed_over["other terms: system, tenancy, software or reservation"], 4);
        let refused: Vec<String> =
            batch.refused.iter().map(|one| format!("{}: {}", one.what, one.reason)).collect();
        assert_eq!(
            refused,
            [
                "aws/p4d.24xlarge/us-east-1: on_demand_usd_per_hour = 0: no cloud charges that",
                "aws/p4de.24xlarge/us-east-1: is in CNY per `Hrs`, not in USD per `Hrs`",
                "aws/p3.2xlarge/us-east-1: `free` is not a number",
            ]
        );
    }

    #[test]
    fn a_long_list_is_read_as_a_stream_and_little_of_it_kept() {
        struct Long {
            head: &'static [u8],
            lines: u64,
        }
        impl Read for Long {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                const LINE: &[u8] = b"\"S\",\"OnDemand\",\"m5.large\",\"Linux\"\n";
                if !self.head.is_empty() {
                    return self.head.read(buffer);
                }
                if self.lines == 0 || buffer.len() < LINE.len() {
                    return Ok(0);
                }
                self.lines -= 1;
                buffer[..LINE.len()].copy_from_slice(LINE);
                Ok(LINE.len())
            }
        }
        let mut long = Long { head: LIST.as_bytes(), lines: 1_000_000 };
        let kept = skim(&mut long, &families()).expect("a long list");
        assert!(kept.len() < LIST.len(), "{} of more than 30 MB", kept.len());
    }

    #[test]
    fn another_form_is_refused() {
        for (list, problem) in [
            ("<html>\n".to_owned(), "no line with the columns of a price list"),
            (String::new(), "no line with the columns of a price list"),
            ("x\n".repeat(50), "no line with the columns of a price list so far"),
            ("x".repeat(70_000), "a line of more than 65536 bytes"),
            (LIST.replace("\"PricePerUnit\"", "\"Price\""), "line 6: the column `PricePerUnit` is missing"),
            (LIST.replace(",\"8\",\"H100\"", ",\"8"), "CSV error"),
        ] {
            let error = batch(&list).expect_err(problem);
            assert!(error.contains(problem), "{error}");
        }
        let free = LIST.replace("55.0400000000", "0.0000000000").replace("1.6240000000", "0.0000000000");
        let error = batch(&free).expect_err("nothing costs anything");
        assert!(error.contains("no offer in it: "), "{error}");
    }
}
