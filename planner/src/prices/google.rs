//! Google's machines in `SkyPilot`'s catalogue: accelerators and hosts are separate rows, joined here zone by
//! zone.

use std::collections::BTreeMap;

use super::batch::{Batch, Reason};
use super::row::tpu_slice;
use super::skypilot::Vm;
use crate::accelerator;

/// Machines without accelerators, by type and zone.
pub(super) type Hosts = BTreeMap<(String, String), Vm>;

/// The host of an accelerator, as `sky/catalog/gcp_catalog.py` joins them: machine families made for one
/// accelerator, and for those that can be added to any machine the smallest `n1` with enough cores.
fn host_types(accelerator: &str, count: u32) -> &'static [&'static str] {
    match (accelerator, count) {
        ("A100", 1) => &["a2-highgpu-1g"],
        ("A100", 2) => &["a2-highgpu-2g"],
        ("A100", 4) => &["a2-highgpu-4g"],
        ("A100", 8) => &["a2-highgpu-8g"],
        ("A100", 16) => &["a2-megagpu-16g"],
        ("A100-80GB", 1) => &["a2-ultragpu-1g"],
        ("A100-80GB", 2) => &["a2-ultragpu-2g"],
        ("A100-80GB", 4) => &["a2-ultragpu-4g"],
        ("A100-80GB", 8) => &["a2-ultragpu-8g"],
        ("L4", 1) => {
            &["g2-standard-4", "g2-standard-8", "g2-standard-12", "g2-standard-16", "g2-standard-32"]
        }
        ("L4", 2) => &["g2-standard-24"],
        ("L4", 4) => &["g2-standard-48"],
        ("L4", 8) => &["g2-standard-96"],
        ("H100", 1) => &["a3-highgpu-1g"],
        ("H100", 2) => &["a3-highgpu-2g"],
        ("H100", 4) => &["a3-highgpu-4g"],
        ("H100", 8) => &["a3-highgpu-8g"],
        ("H100-MEGA", 8) => &["a3-megagpu-8g"],
        ("H200", 8) => &["a3-ultragpu-8g"],
        ("B200", 8) => &["a4-highgpu-8g"],
        ("T4", 1) => &["n1-standard-4"],
        ("T4", 2) | ("V100", 1) => &["n1-standard-8"],
        ("T4", 4) | ("V100", 8) => &["n1-standard-64"],
        ("V100", 2) => &["n1-standard-16"],
        ("V100", 4) => &["n1-standard-32"],
        _ => &[],
    }
}

/// Machines that Google lists a price for but does not sell on demand.
const NOT_ON_DEMAND: [&str; 5] =
    ["a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g", "a3-ultragpu-8g", "a4-highgpu-8g"];

/// What the catalogue writes where it has no price of a TPU, whatever its size.
const PLACEHOLDER: f64 = 700.0;

/// Accelerators joined with their hosts in the same zone: the machine costs the sum. A TPU's host costs
/// nothing extra.
pub(super) fn with_hosts(bare: Vec<Vm>, hosts: &Hosts, batch: &mut Batch) -> Vec<(Vm, &'static str)> {
    let mut joined = Vec::new();
    for mut vm in bare {
        if tpu_slice(&vm.accelerator).is_some() {
            vm.instance_type.clone_from(&vm.accelerator);
            vm.price = vm.price.filter(|price| *price != PLACEHOLDER);
            vm.spot_price = vm.spot_price.filter(|price| *price != PLACEHOLDER);
            joined.push((vm, ""));
            continue;
        }
        let count = vm.count.unwrap_or(0.0) as u32;
        let of_zone = host_types(&vm.accelerator, count)
            .iter()
            .filter_map(|host| hosts.get(&((*host).to_owned(), vm.zone.clone())));
        let mut found = false;
        for host in of_zone {
            found = true;
            let sum = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a + b);
            let added = host.instance_type.starts_with("n1-");
            let reserved = NOT_ON_DEMAND.contains(&host.instance_type.as_str());
            let instance_type = if added {
                format!("{}+{count}x{}", host.instance_type, vm.accelerator)
            } else {
                host.instance_type.clone()
            };
            let machine = Vm {
                line: vm.line,
                instance_type,
                accelerator: vm.accelerator.clone(),
                count: vm.count,
                vcpus: host.vcpus,
                price: sum(vm.price, host.price).filter(|_| !reserved),
                spot_price: sum(vm.spot_price, host.spot_price),
                region: vm.region.clone(),
                zone: vm.zone.clone(),
            };
            let note = if reserved {
                "accelerator and host joined; sold as spot or flex-start only"
            } else {
                "accelerator and host joined; without local SSD"
            };
            joined.push((machine, note));
        }
        if !found {
            batch.refuse(
                Some(vm.line),
                format!("{}x {} in {}", count, vm.accelerator, vm.zone),
                if accelerator::find(&vm.accelerator).is_ok() {
                    Reason::WithoutHost
                } else {
                    Reason::UnknownAccelerator(vm.accelerator)
                },
            );
        }
    }
    joined
}
