//! dstack's `gpuhunt` catalogue: `{base}/{provider}/version` names a version, and
//! `{base}/{provider}/{version}/catalog.zip` holds `{provider}.csv`. Interruptible prices are rows of their
//! own.

use std::io::Read;

use chrono::NaiveDate;
use rawzip::{CompressionMethod, ZipArchive};

use super::batch::{Batch, Found, Reason};
use super::row::{Machine, PriceRow, named, tpu_slice};
use super::{FetchError, PriceSource, Web, broken_csv, column, join, not_empty, number, part, text, whole};

/// Providers that the catalogue has.
pub const GPUHUNT_CLOUDS: [&str; 9] =
    ["aws", "azure", "verda", "gcp", "lambdalabs", "nebius", "oci", "runpod", "cloudrift"];

/// A catalogue is a few MB; what grows beyond this is none.
const LARGEST_CSV: usize = 256 << 20;

/// The catalogue of some providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpuhunt {
    /// Where the providers' folders lie.
    pub base: String,
    /// Providers.
    pub clouds: Vec<String>,
}

impl Gpuhunt {
    /// Where the catalogue is published (schema version 3).
    pub const BASE: &'static str = "https://dstack-gpu-pricing.s3.eu-west-1.amazonaws.com/v3";
}

impl PriceSource for Gpuhunt {
    fn feeds(&self) -> Vec<String> {
        self.clouds.iter().map(|cloud| format!("gpuhunt/{cloud}")).collect()
    }

    fn fetch(&self, feed: &str, web: &dyn Web, _known: &[PriceRow]) -> Result<Batch, FetchError> {
        let cloud = part(feed);
        let url = join(&self.base, &format!("{cloud}/version"));
        let version = web.get(&url, &whole)?;
        let name = text(&version.body, &url)?.trim().to_owned();
        let is_version = !name.is_empty()
            && name.len() <= 64
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !name.contains("..");
        if !is_version {
            let shown: String = name.chars().take(40).collect();
            let problem = format!("`{shown}` is not the name of a version");
            return Err(FetchError::NotACatalogue { url, line: 1, problem });
        }
        let url = join(&self.base, &format!("{cloud}/{name}/catalog.zip"));
        let fetched = web.get(&url, &whole)?;
        let csv = unpack(&fetched.body, &format!("{cloud}.csv"), LARGEST_CSV)
            .map_err(|problem| FetchError::NotACatalogue { url: url.clone(), line: 0, problem })?;
        // The version begins with the day on which the prices were gathered.
        let day = name.get(..8).and_then(|day| NaiveDate::parse_from_str(day, "%Y%m%d").ok());
        let as_of = day.unwrap_or(fetched.as_of).to_string();
        let mut batch = read(feed, cloud, &url, &text(&csv, &url)?, &as_of)?;
        batch.unchanged = fetched.unchanged;
        Ok(batch)
    }
}

/// One file of a zip archive, checked against its length and checksum.
fn unpack(archive: &[u8], name: &str, largest: usize) -> Result<Vec<u8>, String> {
    let broken = |error: rawzip::Error| format!("not a zip archive: {error}");
    let archive = ZipArchive::from_slice(archive).map_err(broken)?;
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry().map_err(broken)? {
        if entry.file_path().as_ref() != name.as_bytes() {
            continue;
        }
        if entry.uncompressed_size_hint() > largest as u64 {
            return Err(format!("`{name}` is larger than {} MiB", largest >> 20));
        }
        let method = entry.compression_method();
        let local = archive.get_entry(entry.wayfinder()).map_err(broken)?;
        let plain = match method {
            CompressionMethod::STORE => local.data().to_vec(),
            CompressionMethod::DEFLATE => {
                // The announced length may be a lie: what comes out is bounded as well.
                miniz_oxide::inflate::decompress_to_vec_with_limit(local.data(), largest)
                    .map_err(|error| format!("`{name}` cannot be unpacked: {error}"))?
            }
            other => return Err(format!("`{name}` is packed by method {}", other.as_u16())),
        };
        let mut checked = Vec::with_capacity(plain.len());
        local
            .verifying_reader(plain.as_slice())
            .read_to_end(&mut checked)
            .map_err(|error| format!("`{name}` is damaged: {error}"))?;
        return Ok(checked);
    }
    Err(format!("the archive has no `{name}`"))
}

fn read(feed: &str, cloud: &str, url: &str, text: &str, as_of: &str) -> Result<Batch, FetchError> {
    let provider = if cloud == "lambdalabs" { "lambda" } else { cloud };
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| broken_csv(&error, url))?.clone();
    let needed = |name| column(&header, name, url, 1);
    let [instance, location, price] = [needed("instance_name")?, needed("location")?, needed("price")?];
    let [count, gpu, memory] = [needed("gpu_count")?, needed("gpu_name")?, needed("gpu_memory")?];
    let [spot, cpu, flags] =
        [needed("spot")?, needed("cpu")?, column(&header, "flags", url, 1).ok().unwrap_or(usize::MAX)];
    let mut batch = Batch::default();
    for record in reader.records() {
        let record = record.map_err(|error| broken_csv(&error, url))?;
        let field = |index: usize| record.get(index).unwrap_or_default().trim();
        let line = record.position().map(csv::Position::line);
        let what = format!("{provider}/{}/{}", field(instance), field(location));
        if !field(flags).is_empty() {
            // Such rows are prices under other terms (reservations), which gpuhunt too only gives when asked.
            batch.pass_over(format!("other terms: {}", field(flags)));
            continue;
        }
        if field(gpu).is_empty() {
            batch.pass_over("a machine without accelerators");
            continue;
        }
        let numbers = [price, count, memory, cpu].map(|index| number(&record, Some(index)));
        let [price, gpus, memory_gb, vcpus] = match numbers {
            [Ok(price), Ok(gpus), Ok(memory_gb), Ok(vcpus)] => [price, gpus, memory_gb, vcpus],
            bad => {
                for reason in bad.into_iter().filter_map(Result::err) {
                    batch.refuse(line, what.clone(), reason);
                }
                continue;
            }
        };
        let gpus = gpus.unwrap_or(0.0);
        if gpus < 1.0 || gpus.fract() != 0.0 {
            batch.refuse(line, what, Reason::Fraction(gpus));
            continue;
        }
        let found = match tpu_slice(field(gpu)) {
            Some((chip, chips)) => Ok((chip, chips * gpus as u32)),
            None => named(provider, field(gpu), memory_gb.map(|gb| gb.round() as u32), field(instance))
                .map(|accelerator| (accelerator, gpus as u32)),
        };
        let (accelerator, count) = match found {
            Ok(found) => found,
            Err(reason) => {
                batch.refuse(line, what, reason);
                continue;
            }
        };
        let is_spot = match field(spot) {
            "True" | "true" => true,
            "False" | "false" | "" => false,
            other => {
                batch.refuse(
                    line,
                    what,
                    Reason::Unreadable(format!("spot = `{other}` is neither True nor False")),
                );
                continue;
            }
        };
        let machine =
            Machine { instance_type: field(instance), accelerator, count, vcpus: vcpus.map(|n| n as u32) };
        let mut row = PriceRow::new(feed, provider, region(provider, field(location)), &machine);
        row.as_of = as_of.to_owned();
        row.source = url.to_owned();
        let (on_demand, spot) = if is_spot { (None, price) } else { (price, None) };
        batch.offer(Found { line, accelerator, on_demand, spot, row });
    }
    not_empty(batch, url)
}

/// Google's locations are zones (`us-central1-a`); others' are regions already.
fn region<'a>(provider: &str, location: &'a str) -> &'a str {
    match location.rsplit_once('-') {
        Some((region, zone)) if provider == "gcp" && region.contains('-') && zone.len() == 1 => region,
        _ => location,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::units::Usd;

    const CSV: &str = include_str!("fixtures/gpuhunt.csv");

    fn zipped(name: &str, contents: &[u8], method: CompressionMethod) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
        let (mut entry, config) =
            archive.new_file(name).compression_method(method).start().expect("an entry");
        let packed = match method {
            CompressionMethod::DEFLATE => miniz_oxide::deflate::compress_to_vec(contents, 6),
            _ => contents.to_vec(),
        };
        let mut claim = config.wrap(std::io::sink());
        claim.write_all(contents).expect("summed");
        let (_, descriptor) = claim.finish().expect("descriptor");
        entry.write_all(&packed).expect("written");
        entry.finish(descriptor).expect("entry");
        archive.finish().expect("archive");
        bytes
    }

    #[test]
    fn archives_are_unpacked_and_checked() {
        for method in [CompressionMethod::STORE, CompressionMethod::DEFLATE] {
            let archive = zipped("gcp.csv", CSV.as_bytes(), method);
            assert_eq!(unpack(&archive, "gcp.csv", LARGEST_CSV).expect("unpacked"), CSV.as_bytes());
            assert_eq!(
                unpack(&archive, "aws.csv", LARGEST_CSV).expect_err("other"),
                "the archive has no `aws.csv`"
            );
            let cut = &archive[..archive.len() / 2];
            assert!(unpack(cut, "gcp.csv", LARGEST_CSV).expect_err("half").starts_with("not a zip archive"));
            let mut damaged = archive.clone();
            damaged[200] ^= 0x55;
            let error = unpack(&damaged, "gcp.csv", LARGEST_CSV).expect_err("a flipped byte");
            assert!(error.contains("damaged") || error.contains("cannot be unpacked"), "{error}");
        }
    }

    #[test]
    fn an_archive_that_unpacks_without_end_is_cut_off() {
        const LARGEST: usize = 1 << 20;
        let bomb = zipped("gcp.csv", &vec![b'0'; 8 * LARGEST], CompressionMethod::DEFLATE);
        assert!(bomb.len() < LARGEST / 10);
        assert_eq!(unpack(&bomb, "gcp.csv", LARGEST).expect_err("a bomb"), "`gcp.csv` is larger than 1 MiB");
        // The same archive with a lie about its length in its directory.
        let honest = u32::try_from(8 * LARGEST).expect("fits").to_le_bytes();
        let at = bomb.windows(4).rposition(|bytes| bytes == honest).expect("the length");
        let mut lie = bomb;
        lie[at..at + 4].copy_from_slice(&[100, 0, 0, 0]);
        let error = unpack(&lie, "gcp.csv", LARGEST).expect_err("a lying bomb");
        assert!(error.starts_with("`gcp.csv` cannot be unpacked"), "{error}");
    }

    #[test]
    fn spot_rows_zones_and_flags() {
        let batch = read("gpuhunt/gcp", "gcp", "http://x", CSV, "2026-08-19").expect("a catalogue");
        assert_eq!(batch.rows.len(), 2, "{batch:#?}");
        let a2 = &batch.rows[0];
        assert_eq!((a2.region.as_str(), a2.instance_type.as_str()), ("us-central1", "a2-ultragpu-8g"));
        assert_eq!((a2.accelerator.as_str(), a2.count), ("A100-80GB-SXM", 8));
        assert_eq!(a2.on_demand_usd_per_hour, Some(Usd::from_micros(40_550_400)));
        assert_eq!(a2.spot_usd_per_hour, Some(Usd::from_micros(20_000_000)));
        assert_eq!(a2.note, "spot by zone 20.00 to 22.08");
        let tpu = &batch.rows[1];
        assert_eq!((tpu.accelerator.as_str(), tpu.count), ("TPU-v5e", 8));
        assert_eq!(batch.passed_over["other terms: gcp-dws-calendar-mode"], 1);
        assert_eq!(batch.passed_over["a machine without accelerators"], 1);
        let refused: Vec<String> = batch.refused.iter().map(|one| one.reason.to_string()).collect();
        assert_eq!(
            refused,
            [
                "on_demand_usd_per_hour = 0: no cloud charges that",
                "no accelerator is called `Z9000`",
                "spot = `maybe` is neither True nor False",
            ]
        );
    }

    #[test]
    fn another_form_is_refused() {
        let renamed = CSV.replace("gpu_name", "gpu");
        let error = read("gpuhunt/gcp", "gcp", "http://x", &renamed, "2026").expect_err("renamed");
        assert_eq!(error.to_string(), "http://x: line 1: the column `gpu_name` is missing");
    }
}
