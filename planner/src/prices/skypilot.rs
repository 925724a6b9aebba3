//! Reading `SkyPilot`'s `vms.csv`: columns by header name, since their order differs from cloud to cloud.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FetchError, Fetched};
use crate::accelerator;

/// A row of the catalogue's own CSV.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CatalogueRow {
    /// Cloud.
    pub provider: String,
    /// Region, as the cloud calls it.
    pub region: String,
    /// Instance type.
    pub instance_type: String,
    /// Accelerator, by the catalogue's name.
    pub accelerator: String,
    /// Accelerators in the machine.
    pub count: u32,
    /// Virtual CPUs.
    pub vcpus: Option<u32>,
    /// USD per hour for the whole machine.
    pub on_demand_usd_per_hour: Option<f64>,
    /// USD per hour for the whole machine, interruptible.
    pub spot_usd_per_hour: Option<f64>,
    /// Always `list`: a price list.
    pub basis: &'static str,
    /// Day of the price.
    pub as_of: String,
    /// Where the price was read.
    pub source: String,
    /// What to know about it.
    pub note: String,
}

/// Why a row cannot be planned with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skipped {
    /// A machine without accelerators.
    NoAccelerator,
    /// A fraction of an accelerator.
    Fraction,
    /// An accelerator that the hardware table does not have.
    UnknownAccelerator(String),
    /// The price is for the accelerator alone; its host is priced elsewhere.
    WithoutHost,
    /// No price, or one that no cloud charges (zero, negative, a cent).
    NoPrice,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAccelerator => f.write_str("no accelerator"),
            Self::Fraction => f.write_str("a fraction of an accelerator"),
            Self::UnknownAccelerator(name) => write!(f, "unknown accelerator {name}"),
            Self::WithoutHost => f.write_str("accelerator priced without its host"),
            Self::NoPrice => f.write_str("no price, or one of at most a cent"),
        }
    }
}

#[derive(Deserialize)]
struct Vm {
    #[serde(rename = "InstanceType", default)]
    instance_type: String,
    #[serde(rename = "AcceleratorName", default)]
    accelerator: String,
    #[serde(rename = "AcceleratorCount", default)]
    count: Option<f64>,
    #[serde(rename = "vCPUs", default)]
    vcpus: Option<f64>,
    #[serde(rename = "Price", default)]
    price: Option<f64>,
    #[serde(rename = "SpotPrice", default)]
    spot_price: Option<f64>,
    #[serde(rename = "Region", default)]
    region: String,
}

/// Rows that can be planned with, and how many cannot, by reason.
pub fn read_skypilot(
    cloud: &str,
    url: &str,
    fetched: &Fetched,
) -> Result<(Vec<CatalogueRow>, BTreeMap<Skipped, usize>), FetchError> {
    let broken =
        |line: u64, problem: String| FetchError::NotACatalogue { url: url.to_owned(), line, problem };
    let mut reader = csv::Reader::from_reader(fetched.text.as_bytes());
    let header = reader.headers().map_err(|error| broken(1, error.to_string()))?;
    for column in ["AcceleratorName", "Price", "Region"] {
        if !header.iter().any(|name| name == column) {
            return Err(broken(1, format!("the column {column} is missing")));
        }
    }
    let mut rows = Vec::new();
    let mut skipped = BTreeMap::new();
    for record in reader.deserialize::<Vm>() {
        let vm = record
            .map_err(|error| broken(error.position().map_or(0, csv::Position::line), error.to_string()))?;
        match place(vm, cloud, url, fetched) {
            Ok(row) => rows.push(row),
            Err(reason) => *skipped.entry(reason).or_default() += 1,
        }
    }
    Ok((rows, skipped))
}

fn place(vm: Vm, cloud: &str, url: &str, fetched: &Fetched) -> Result<CatalogueRow, Skipped> {
    let count = vm.count.filter(|&count| count > 0.0 && !vm.accelerator.is_empty());
    let count = count.ok_or(Skipped::NoAccelerator)?;
    if count.fract() != 0.0 {
        return Err(Skipped::Fraction);
    }
    if vm.instance_type.is_empty() {
        return Err(Skipped::WithoutHost);
    }
    let accelerator = form_factor(&vm.accelerator, &vm.instance_type);
    let accelerator =
        accelerator::find(&accelerator).map_err(|_| Skipped::UnknownAccelerator(vm.accelerator))?;
    // RunPod repeats its price as a spot price and Vast writes 0 for "unknown".
    let real = |price: &f64| price.is_finite() && *price > 0.01;
    let on_demand = vm.price.filter(real);
    let spot = vm.spot_price.filter(real).filter(|&spot| Some(spot) != on_demand);
    if on_demand.is_none() && spot.is_none() {
        return Err(Skipped::NoPrice);
    }
    Ok(CatalogueRow {
        provider: cloud.to_owned(),
        region: vm.region,
        instance_type: vm.instance_type,
        accelerator: accelerator.name.clone(),
        count: count as u32,
        vcpus: vm.vcpus.map(|vcpus| vcpus as u32),
        on_demand_usd_per_hour: on_demand,
        spot_usd_per_hour: spot,
        basis: "list",
        as_of: fetched.as_of.to_string(),
        source: url.to_owned(),
        note: String::new(),
    })
}

/// The catalogue merges form factors under one name (`H100` for SXM, NVL and `PCIe`); the instance type tells
/// them apart where it says so.
fn form_factor(accelerator: &str, instance_type: &str) -> String {
    let kind = instance_type.to_lowercase();
    for (mark, suffix) in [("sxm", "SXM"), ("nvl", "NVL"), ("pcie", "PCIe")] {
        if kind.contains(mark) {
            let exact = format!("{accelerator}-{suffix}");
            if accelerator::find(&exact).is_ok() {
                return exact;
            }
        }
    }
    accelerator.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Rows as the catalogue has them, columns in the order of three clouds.
    const AWS: &str = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone\n\
        p5.48xlarge,H100,8.0,192.0,2048.0,\"{'Gpus': [{'Name': 'H100'}]}\",55.04,9.372200,us-west-2,usw2-az4\n\
        m5.large,,,2.0,8.0,,0.096,0.03,us-west-2,usw2-az1\n\
        x.vgpu,H100,0.5,4.0,8.0,,1.5,,us-west-2,usw2-az1\n\
        odd.type,Z9000,1.0,4.0,8.0,,1.5,,us-west-2,usw2-az1\n";
    const NEBIUS: &str = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice\n\
        gpu-h100-sxm_8gpu-128vcpu-1600gb,H100,8,128,1600,23.60,eu-north1,x,10.00\n";
    const VAST: &str = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region\n\
        1x-H100_SXM-32-65536,H100,1,32,64.0,x,1.80,0.00,\"Florida, US, NA\"\n\
        1x-T4-8-1024,T4,1,8,64.0,x,0.01,0.00,\"Florida, US, NA\"\n\
        ,T4,1,8,64.0,x,0.35,0.10,us-central1\n";

    fn read(cloud: &str, text: &str) -> (Vec<CatalogueRow>, BTreeMap<Skipped, usize>) {
        let day = chrono::NaiveDate::from_ymd_opt(2026, 8, 4).expect("a day");
        let fetched = Fetched { text: text.replace("\n        ", "\n"), as_of: day };
        read_skypilot(cloud, "http://x", &fetched).expect("a catalogue")
    }

    #[test]
    fn columns_are_found_by_name_and_prices_are_whole_machines() {
        let (rows, skipped) = read("aws", AWS);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].count, rows[0].on_demand_usd_per_hour), (8, Some(55.04)));
        assert_eq!(rows[0].as_of, "2026-08-04");
        assert_eq!(skipped[&Skipped::NoAccelerator], 1);
        assert_eq!(skipped[&Skipped::Fraction], 1);
        assert_eq!(skipped[&Skipped::UnknownAccelerator("Z9000".into())], 1);
        let (rows, _) = read("nebius", NEBIUS);
        assert_eq!(rows[0].accelerator, "H100-SXM");
        assert_eq!(rows[0].spot_usd_per_hour, Some(10.0));
    }

    #[test]
    fn prices_that_no_cloud_charges_are_unknown_not_cheap() {
        let (rows, skipped) = read("vast", VAST);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].on_demand_usd_per_hour, rows[0].spot_usd_per_hour), (Some(1.8), None));
        assert_eq!(rows[0].region, "Florida, US, NA");
        assert_eq!(skipped[&Skipped::NoPrice], 1);
        assert_eq!(skipped[&Skipped::WithoutHost], 1);
    }

    #[test]
    fn a_page_that_is_no_catalogue_is_refused() {
        let day = chrono::NaiveDate::from_ymd_opt(2026, 8, 4).expect("a day");
        let fetched = Fetched { text: "<html>\n".into(), as_of: day };
        let error = read_skypilot("aws", "http://x", &fetched).expect_err("HTML");
        assert!(error.to_string().contains("AcceleratorName"), "{error}");
    }
}
