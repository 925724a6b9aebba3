//! `SkyPilot`'s hosted catalogue: `{base}/{cloud}/vms.csv`, columns by header name, since their order differs
//! from cloud to cloud. What its `GpuInfo` says (a Python dictionary, with memory in changing units) is not
//! read: memory comes from the hardware table. Google's accelerators and hosts are separate rows, joined
//! here.

use super::batch::{Batch, Found, Reason};
use super::google::{Hosts, with_hosts};
use super::row::{Machine, PriceRow, named, tpu_slice};
use super::{
    FetchError, Fetched, PriceSource, Web, broken_csv, column, join, not_empty, number, part, text, whole,
    whole_lines,
};

/// Clouds that the catalogue has or had a folder for.
pub const SKYPILOT_CLOUDS: [&str; 28] = [
    "aws",
    "azure",
    "gcp",
    "lambda",
    "runpod",
    "vast",
    "oci",
    "nebius",
    "fluidstack",
    "cudo",
    "paperspace",
    "do",
    "ibm",
    "scp",
    "hyperbolic",
    "hyperstack",
    "seeweb",
    "shadeform",
    "primeintellect",
    "verda",
    "mithril",
    "jarvislabs",
    "lium",
    "spheron",
    "yotta",
    "simplepod",
    "ovhcloud",
    "scaleway",
];

/// The catalogue of some clouds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkyPilot {
    /// Where the clouds' folders lie.
    pub base: String,
    /// Clouds.
    pub clouds: Vec<String>,
}

impl SkyPilot {
    /// Where the catalogue is published (schema version 8).
    pub const BASE: &'static str =
        "https://raw.githubusercontent.com/skypilot-org/skypilot-catalog/master/catalogs/v8";
}

impl PriceSource for SkyPilot {
    fn feeds(&self) -> Vec<String> {
        self.clouds.iter().map(|cloud| format!("skypilot/{cloud}")).collect()
    }

    fn fetch(&self, feed: &str, web: &dyn Web, _known: &[PriceRow]) -> Result<Batch, FetchError> {
        let cloud = part(feed);
        let url = join(&self.base, &format!("{cloud}/vms.csv"));
        let fetched = web.get(&url, &whole)?;
        let mut batch = read(feed, cloud, &url, &fetched)?;
        batch.unchanged = fetched.unchanged;
        Ok(batch)
    }
}

/// A row as it stands in the document.
pub(super) struct Vm {
    pub(super) line: u64,
    pub(super) instance_type: String,
    pub(super) accelerator: String,
    pub(super) count: Option<f64>,
    pub(super) vcpus: Option<f64>,
    pub(super) price: Option<f64>,
    pub(super) spot_price: Option<f64>,
    pub(super) region: String,
    pub(super) zone: String,
}

struct Columns {
    instance_type: usize,
    accelerator: usize,
    count: usize,
    vcpus: Option<usize>,
    price: usize,
    spot_price: Option<usize>,
    region: usize,
    zone: Option<usize>,
}

impl Columns {
    fn of(header: &csv::StringRecord, url: &str) -> Result<Self, FetchError> {
        let needed = |name| column(header, name, url, 1);
        let optional = |name| column(header, name, url, 1).ok();
        Ok(Self {
            instance_type: needed("InstanceType")?,
            accelerator: needed("AcceleratorName")?,
            count: needed("AcceleratorCount")?,
            vcpus: optional("vCPUs"),
            price: needed("Price")?,
            spot_price: optional("SpotPrice"),
            region: needed("Region")?,
            zone: optional("AvailabilityZone"),
        })
    }

    fn read(&self, record: &csv::StringRecord) -> Result<Vm, Reason> {
        let field = |index: usize| record.get(index).unwrap_or_default().trim().to_owned();
        Ok(Vm {
            line: record.position().map_or(0, csv::Position::line),
            instance_type: field(self.instance_type),
            accelerator: field(self.accelerator),
            count: number(record, Some(self.count))?,
            vcpus: number(record, self.vcpus)?,
            price: number(record, Some(self.price))?,
            spot_price: number(record, self.spot_price)?,
            region: field(self.region),
            zone: self.zone.map(field).unwrap_or_default(),
        })
    }
}

/// Reads one cloud's file.
fn read(feed: &str, cloud: &str, url: &str, fetched: &Fetched) -> Result<Batch, FetchError> {
    let text = text(&fetched.body, url)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = Columns::of(reader.headers().map_err(|error| broken_csv(&error, url))?, url)?;
    whole_lines(&text, url)?;
    let mut batch = Batch::default();
    let (mut machines, mut hosts, mut bare) = (Vec::new(), Hosts::default(), Vec::new());
    for record in reader.records() {
        let record = record.map_err(|error| broken_csv(&error, url))?;
        match columns.read(&record) {
            Err(reason) => {
                let line = record.position().map(csv::Position::line);
                batch.refuse(line, record.get(columns.instance_type).unwrap_or_default(), reason);
            }
            Ok(vm) if vm.accelerator.is_empty() => {
                if cloud == "gcp" {
                    hosts.insert((vm.instance_type.clone(), vm.zone.clone()), vm);
                } else {
                    batch.pass_over("a machine without accelerators");
                }
            }
            Ok(vm) if vm.instance_type.is_empty() || vm.instance_type == "TPU-VM" => bare.push(vm),
            Ok(vm) => machines.push((vm, "")),
        }
    }
    let slices_or_joined = with_hosts(bare, &hosts, &mut batch);
    machines.extend(slices_or_joined);
    for (vm, note) in machines {
        place(&vm, note, feed, cloud, url, fetched, &mut batch);
    }
    not_empty(batch, url)
}

fn place(vm: &Vm, note: &str, feed: &str, cloud: &str, url: &str, fetched: &Fetched, batch: &mut Batch) {
    let line = Some(vm.line);
    let what = || format!("{cloud}/{}/{}", vm.instance_type, vm.region);
    let count = match vm.count {
        Some(count) if count > 0.0 && count.fract() == 0.0 && count < 65_536.0 => count as u32,
        Some(count) if count > 0.0 => return batch.refuse(line, what(), Reason::Fraction(count)),
        _ => return batch.pass_over("a machine without accelerators"),
    };
    let found = match tpu_slice(&vm.accelerator) {
        Some((chip, chips)) => Ok((chip, chips * count)),
        None => named(cloud, whose_memory_is_meant(&vm.accelerator), None, &vm.instance_type)
            .map(|accelerator| (accelerator, count)),
    };
    let (accelerator, count) = match found {
        Ok(found) => found,
        Err(reason) => return batch.refuse(line, what(), reason),
    };
    let machine =
        Machine { instance_type: &vm.instance_type, accelerator, count, vcpus: vm.vcpus.map(|n| n as u32) };
    let mut row = PriceRow::new(feed, cloud, &vm.region, &machine);
    row.as_of = fetched.as_of.to_string();
    row.source = url.to_owned();
    row.note = note.to_owned();
    if cloud == "vast" {
        row.basis = "market".to_owned();
        row.note = "median of a market's cheaper half".to_owned();
    } else if cloud == "shadeform" || cloud == "primeintellect" {
        row.basis = "aggregator".to_owned();
    }
    batch.offer(Found { line, accelerator, on_demand: vm.price, spot: vm.spot_price, row });
}

/// The catalogue's `A100` has 40 GB; with 80 GB it is `A100-80GB`. (People mean the larger by the short
/// name.)
fn whose_memory_is_meant(name: &str) -> &str {
    match name {
        "A100" => "A100-40GB",
        "A100-SXM" => "A100-40GB-SXM",
        "H100-MEGA" => "H100-SXM",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Usd;

    const AWS: &str = include_str!("fixtures/skypilot_aws.csv");
    const GCP: &str = include_str!("fixtures/skypilot_gcp.csv");
    const NEBIUS: &str = include_str!("fixtures/skypilot_nebius.csv");
    const VAST: &str = include_str!("fixtures/skypilot_vast.csv");

    fn fetched(text: &str) -> Fetched {
        let as_of = chrono::NaiveDate::from_ymd_opt(2026, 8, 4).expect("a day");
        Fetched { body: text.as_bytes().to_vec(), as_of, unchanged: false }
    }

    fn read_cloud(cloud: &str, text: &str) -> Batch {
        read(&format!("skypilot/{cloud}"), cloud, "http://x", &fetched(text)).expect("a catalogue")
    }

    fn usd(dollars: f64) -> Option<Usd> {
        Some(Usd::from_dollars(dollars))
    }

    fn row<'a>(batch: &'a Batch, instance_type: &str, region: &str) -> &'a PriceRow {
        let found = batch.rows.iter().find(|row| row.instance_type == instance_type && row.region == region);
        found.unwrap_or_else(|| panic!("no {instance_type} in {region}: {batch:#?}"))
    }

    #[test]
    fn zones_become_one_row_a_region_and_python_dictionaries_do_not_matter() {
        let batch = read_cloud("aws", AWS);
        let p5 = row(&batch, "p5.48xlarge", "us-west-2");
        assert_eq!((p5.count, p5.vcpus, p5.accelerator.as_str()), (8, Some(192), "H100-SXM"));
        assert_eq!((p5.on_demand_usd_per_hour, p5.spot_usd_per_hour), (usd(55.04), usd(9.3722)));
        assert_eq!(p5.note, "spot by zone 9.37 to 19.35");
        assert_eq!(p5.as_of, "2026-08-04");
        // The catalogue's A100 has 40 GB.
        assert_eq!(row(&batch, "p4d.24xlarge", "us-west-2").accelerator, "A100-40GB-SXM");
        assert_eq!(row(&batch, "p4de.24xlarge", "us-west-2").accelerator, "A100-80GB-SXM");
        // Sold interruptibly only.
        assert_eq!(row(&batch, "p5e.48xlarge", "us-east-2").on_demand_usd_per_hour, None);
        assert_eq!(batch.passed_over["a machine without accelerators"], 1);
        let reasons: Vec<String> = batch.refused.iter().map(|refused| refused.reason.to_string()).collect();
        assert_eq!(reasons, ["0.125 of an accelerator", "no accelerator is called `Z9000`"]);
    }

    #[test]
    fn google_hosts_are_added_to_their_accelerators_zone_by_zone() {
        let batch = read_cloud("gcp", GCP);
        let a2 = row(&batch, "a2-highgpu-8g", "us-central1");
        // 5.91582 + 23.47128, the lower spot zone 2.958 + 9.2.
        assert_eq!((a2.on_demand_usd_per_hour, a2.spot_usd_per_hour), (usd(29.3871), usd(12.158)));
        assert_eq!((a2.accelerator.as_str(), a2.count, a2.vcpus), ("A100-40GB-SXM", 8, Some(96)));
        let mega = row(&batch, "a3-megagpu-8g", "us-east4");
        assert_eq!(mega.accelerator, "H100-SXM");
        // Listed, but not sold on demand.
        let one = row(&batch, "a3-highgpu-1g", "us-east4");
        assert_eq!((one.on_demand_usd_per_hour, one.spot_usd_per_hour), (None, usd(4.54)));
        assert_eq!(row(&batch, "n1-standard-4+1xT4", "us-central1").on_demand_usd_per_hour, usd(0.54));
        // 700.0 stands for "unknown", whatever the size.
        assert_eq!(row(&batch, "tpu-v6e-8", "us-east5").on_demand_usd_per_hour, usd(21.6));
        assert!(batch.rows.iter().all(|row| row.region != "asia-east1"), "{batch:#?}");
        let reasons = batch.reasons();
        assert_eq!(reasons["an accelerator priced without a host"], 1);
        assert_eq!(reasons["no price"], 1);
        assert!(batch.rows.iter().all(|row| !row.instance_type.is_empty()));
    }

    #[test]
    fn columns_are_found_by_name() {
        let batch = read_cloud("nebius", NEBIUS);
        let h100 = row(&batch, "gpu-h100-sxm_8gpu-128vcpu-1600gb", "eu-north1");
        assert_eq!((h100.on_demand_usd_per_hour, h100.spot_usd_per_hour), (usd(23.6), usd(10.0)));
    }

    #[test]
    fn prices_that_no_cloud_charges_are_unknown_not_cheap() {
        let batch = read_cloud("vast", VAST);
        assert_eq!(batch.rows.len(), 1);
        let h100 = row(&batch, "1x-H100_SXM-32-65536", "Florida, US, NA");
        assert_eq!((h100.on_demand_usd_per_hour, h100.spot_usd_per_hour), (usd(1.8), None));
        assert_eq!(h100.basis, "market");
        let refused: Vec<String> =
            batch.refused.iter().map(|one| format!("{}: {}", one.line.unwrap_or(0), one.reason)).collect();
        assert_eq!(
            refused,
            [
                "2: spot_usd_per_hour = 0: no cloud charges that",
                "3: on_demand_usd_per_hour = 0.01: no cloud charges that",
                "3: spot_usd_per_hour = 0: no cloud charges that",
                "4: on_demand_usd_per_hour = -1: no cloud charges that",
                "5: no price",
                "6: on_demand_usd_per_hour = 900: 900.00 USD per H100-SXM and hour, which elsewhere costs 0.27 to 47.93",
                "7: `cheap` is not a number",
            ]
        );
    }

    #[test]
    fn a_page_that_is_no_catalogue_is_refused() {
        for (text, problem) in [
            ("<html>\n", "line 1: the column `InstanceType` is missing"),
            ("", "line 1: the column `InstanceType` is missing"),
            (&NEBIUS.replace("Price,Region", "Cost,Region"), "line 1: the column `Price` is missing"),
            (&NEBIUS[..NEBIUS.len() - 3], "line 2: the last line has no end"),
            (&NEBIUS.replace(",10.00", ""), "line 2: CSV error"),
            (
                &NEBIUS.replace("23.60", "0.00").replace("10.00", "0"),
                "no offer in it: 1 x spot_usd_per_hour of at most a cent, 1 x on_demand",
            ),
        ] {
            let error = read("skypilot/nebius", "nebius", "http://x", &fetched(text)).expect_err(text);
            assert!(error.to_string().contains(problem), "{error}");
        }
        let binary = Fetched { body: vec![0xff, 0xfe], ..fetched("") };
        let error = read("skypilot/x", "x", "http://x", &binary).expect_err("binary");
        assert!(error.to_string().contains("not UTF-8"), "{error}");
    }
}
