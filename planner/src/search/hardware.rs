//! Which machines a request allows, and which filter took the last one away.

use super::error::RequestError;
use super::machine::{Machine, Machines};
use super::request::{HardwareRequest, StatedPrice};
use crate::accelerator;
use crate::names::UnknownName;
use crate::offer::{self, Offer, THIS_MACHINE};
use crate::units::Usd;

/// Accelerators per machine tried for hardware that the user describes without a number.
const STATED_COUNTS: [u32; 4] = [1, 2, 4, 8];

fn unknown(field: &str, error: &UnknownName, all: &str) -> RequestError {
    let hint = error.hint().unwrap_or_else(|| all.to_owned());
    RequestError::new(field, &error.name, format!("no {} is called so", error.kind), hint)
}

/// Finds the machines.
pub(super) fn resolve(request: &HardwareRequest) -> Result<Machines, RequestError> {
    let gpu = request
        .gpu
        .as_deref()
        .map(|name| {
            accelerator::find(name)
                .map_err(|error| unknown("--gpu", &error, "`shoestring prices list` names them"))
        })
        .transpose()?;
    let wants_this = request.offer.as_deref().is_some_and(|name| name.trim() == THIS_MACHINE);
    if wants_this
        || (request.offer.is_none() && gpu.is_some_and(|gpu| gpu.runtime == accelerator::Runtime::Cpu))
    {
        return this_machine(request);
    }
    let today = request.prices.as_deref().unwrap_or(offer::built_in());
    let mut list: Vec<Machine> = match (&request.offer, gpu, request.price) {
        // The user's own description of hardware.
        (None, Some(gpu), Some(price)) if request.provider.is_none() => {
            return described(gpu, price, request);
        }
        (None, None, Some(price)) if request.provider.is_none() => {
            let hint = "say of what: --gpu NAME --gpus N, or --offer NAME";
            return Err(RequestError::new("--price", price.amount(), "is the price of no machine", hint));
        }
        (Some(name), ..) => {
            let list = "`shoestring prices list` names them";
            let found = offer::find_among(name, today).map_err(|error| unknown("--offer", &error, list))?;
            found.into_iter().filter_map(|offer| at_price(offer, request)).collect()
        }
        _ => today
            .iter()
            .filter(|offer| gpu.is_some() || offer.accelerator.runtime.is_supported())
            .filter_map(|offer| at_price(offer, request))
            .collect(),
    };
    // Each filter in turn, so that it can be said which one took the last offer away.
    let mut left = Left { last: list.clone(), by: None };
    if let Some(provider) = &request.provider {
        let known: Vec<&str> = today.iter().map(|offer| offer.provider.as_str()).collect();
        if !known.iter().any(|name| name.eq_ignore_ascii_case(provider)) {
            let error = UnknownName::new("provider", provider, known);
            return Err(unknown("--provider", &error, "`shoestring prices list` names them"));
        }
        let same = |machine: &Machine| machine.offer.provider.eq_ignore_ascii_case(provider);
        left.keep(&mut list, "--provider", provider, same);
    }
    if let Some(region) = &request.region {
        let known: Vec<&str> = today.iter().map(|offer| offer.region.as_str()).collect();
        let within = |found: &str| found.to_lowercase().contains(&region.to_lowercase());
        if !known.iter().any(|found| within(found)) {
            let error = UnknownName::new("region", region, known);
            return Err(unknown("--region", &error, "`shoestring prices list` names them"));
        }
        left.keep(&mut list, "--region", region, |machine| within(&machine.offer.region));
    }
    if let Some(gpu) = gpu {
        left.keep(&mut list, "--gpu", &gpu.name, |machine| machine.offer.accelerator.name == gpu.name);
    }
    let before_gpus = list.clone();
    if let Some(gpus) = request.gpus {
        let together = |machine: &&Machine| {
            let named = request.offer.is_some() || machine.offer.count == gpus;
            gpus.is_multiple_of(machine.offer.count) && (named || machine.is_joinable())
        };
        list =
            list.iter().filter(together).map(|machine| machine.times(gpus / machine.offer.count)).collect();
    }
    if let (true, Some(by)) = (list.is_empty(), left.by.take()) {
        return Err(by);
    }
    if list.is_empty() {
        return Err(nothing_left(request, &before_gpus));
    }
    Ok(Machines { list: cheapest_of_each_kind(list), nodes_open: request.gpus.is_none() })
}

/// What was left before a filter took the last offer away.
struct Left {
    last: Vec<Machine>,
    by: Option<RequestError>,
}

impl Left {
    fn keep(&mut self, list: &mut Vec<Machine>, flag: &str, value: &str, keep: impl Fn(&Machine) -> bool) {
        list.retain(keep);
        if !list.is_empty() {
            self.last.clone_from(list);
        } else if self.by.is_none() && !self.last.is_empty() {
            let mut others: Vec<&str> = self
                .last
                .iter()
                .map(|machine| match flag {
                    "--provider" => machine.offer.provider.as_str(),
                    "--region" => machine.offer.region.as_str(),
                    _ => machine.offer.accelerator.name.as_str(),
                })
                .collect();
            others.sort_unstable();
            others.dedup();
            others.truncate(6);
            let count = self.last.len();
            let problem = format!("no offer is left: this took away the last {count}");
            let hint = format!("of what was left before it, there are {}", others.join(", "));
            self.by = Some(RequestError::new(flag, value, problem, hint));
        }
    }
}

fn at_price(offer: &Offer, request: &HardwareRequest) -> Option<Machine> {
    match request.price {
        Some(StatedPrice::PerMachineHour(usd)) => Some(Machine::stated(offer.clone(), usd, request.spot)),
        Some(StatedPrice::PerGpuHour(usd)) => {
            Some(Machine::stated(offer.clone(), all_of(usd, offer.count), request.spot))
        }
        None => Machine::listed(offer, request.spot),
    }
}

/// Price of `count` accelerators at a price for each.
fn all_of(usd_per_device: Usd, count: u32) -> Usd {
    Usd::from_micros(usd_per_device.micros().saturating_mul(i64::from(count)))
}

fn this_machine(request: &HardwareRequest) -> Result<Machines, RequestError> {
    if let Some(gpus) = request.gpus.filter(|&gpus| gpus != 1) {
        let hint = "this machine counts as one; leave --gpus out";
        return Err(RequestError::new("--gpus", gpus, "this machine's CPU is one device", hint));
    }
    let price = request.price.map(StatedPrice::amount);
    let offer = Offer::this_machine(price)
        .map_err(|error| unknown("--offer", &error, "this build knows no CPU as an accelerator"))?;
    Ok(Machines { list: Machine::listed(&offer, false).into_iter().collect(), nodes_open: false })
}

fn described(
    gpu: &'static accelerator::Accelerator,
    price: StatedPrice,
    request: &HardwareRequest,
) -> Result<Machines, RequestError> {
    let list = match (price, request.gpus) {
        (StatedPrice::PerMachineHour(usd), Some(gpus)) => vec![(gpus, usd)],
        (StatedPrice::PerMachineHour(usd), None) => {
            let problem = "is the price of a machine whose accelerators are not counted";
            let hint = format!("add --gpus N, the number of {} in it", gpu.name);
            return Err(RequestError::new("--price", usd, problem, hint));
        }
        (StatedPrice::PerGpuHour(usd), gpus) => {
            let counts = gpus.map_or_else(|| STATED_COUNTS.to_vec(), |gpus| vec![gpus]);
            counts.into_iter().map(|count| (count, all_of(usd, count))).collect()
        }
    };
    let list = list
        .into_iter()
        .map(|(count, usd)| Machine::stated(Offer::stated(gpu, count, usd), usd, request.spot))
        .collect();
    Ok(Machines { list, nodes_open: false })
}

fn nothing_left(request: &HardwareRequest, before_gpus: &[Machine]) -> RequestError {
    if let Some(gpus) = request.gpus
        && !before_gpus.is_empty()
    {
        let mut counts: Vec<u32> = before_gpus.iter().map(|machine| machine.offer.count).collect();
        counts.sort_unstable();
        counts.dedup();
        let counts: Vec<String> = counts.iter().map(u32::to_string).collect();
        let hint = format!("machines on offer have {}; use a multiple of one of these", counts.join(", "));
        return RequestError::new("--gpus", gpus, "no offer can be put together to that number", hint);
    }
    let asked: Vec<&str> =
        [&request.offer, &request.gpu, &request.provider].into_iter().flatten().map(String::as_str).collect();
    let sale = if request.spot { "spot" } else { "on demand" };
    let hint = format!(
        "{}state a price yourself with --price, or look at `shoestring prices list`",
        if request.spot { "leave --spot out, " } else { "" }
    );
    let value = if asked.is_empty() { "any".to_owned() } else { asked.join(" ") };
    RequestError::new("--offer", value, format!("nothing of this kind is sold {sale}"), hint)
}

/// Drops offers that another one beats: the same accelerators and as many CPUs (or an unknown number of both) for
/// less. The first of equals stays, which keeps the catalogue's order.
fn cheapest_of_each_kind(mut list: Vec<Machine>) -> Vec<Machine> {
    list.sort_by_key(|machine| machine.usd_per_hour);
    let mut kept: Vec<Machine> = Vec::new();
    for machine in list {
        let beaten = kept.iter().any(|cheaper| {
            cheaper.offer.accelerator.name == machine.offer.accelerator.name
                && cheaper.offer.count == machine.offer.count
                && cheaper.nodes == machine.nodes
                && match (cheaper.offer.vcpus, machine.offer.vcpus) {
                    // CPUs that are not known are not counted as a limit.
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(fewer), Some(more)) => fewer >= more,
                }
        });
        if !beaten {
            kept.push(machine);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    fn gpu(name: &str) -> HardwareRequest {
        HardwareRequest { gpu: Some(name.to_owned()), ..HardwareRequest::default() }
    }

    #[test]
    fn a_stated_price_describes_a_machine() {
        let price = Some(StatedPrice::PerGpuHour(Usd::from_dollars(1.575)));
        let machines =
            resolve(&HardwareRequest { price, gpus: Some(8), ..gpu("A100-80GB") }).expect("resolves");
        assert_eq!(machines.list.len(), 1);
        let machine = &machines.list[0];
        assert_eq!((machine.devices(), machine.usd_per_hour), (8, Usd::from_dollars(12.6)));
        assert_eq!(machine.price_source(), Source::Stated);

        let price = Some(StatedPrice::PerMachineHour(Usd::from_dollars(12.6)));
        let error = resolve(&HardwareRequest { price, ..gpu("A100-80GB") }).expect_err("of how many?");
        assert!(error.hint.contains("--gpus"), "{error}");
        let error = resolve(&HardwareRequest { price, ..HardwareRequest::default() }).expect_err("of what?");
        assert_eq!(error.field, "--price");
    }

    #[test]
    fn names_that_do_not_exist_get_the_nearest() {
        let error = resolve(&gpu("H100-SMX9")).expect_err("no such");
        assert!(error.field == "--gpu" && error.hint.contains("H100-SXM"), "{error:?}");
        let request = HardwareRequest { offer: Some("p5.48xlage".into()), ..HardwareRequest::default() };
        assert!(resolve(&request).expect_err("no such").hint.contains("p5.48xlarge"));
        let request = HardwareRequest { provider: Some("lamda".into()), ..HardwareRequest::default() };
        assert!(resolve(&request).expect_err("no such").hint.contains("lambda"));
    }

    #[test]
    fn several_machines_make_up_the_number_asked_for() {
        let machines = resolve(&HardwareRequest { gpus: Some(16), ..gpu("H100") }).expect("resolves");
        assert!(machines.list.iter().all(|machine| machine.devices() == 16));
        assert!(!machines.nodes_open);
        let request =
            HardwareRequest { offer: Some("p5.48xlarge".into()), gpus: Some(12), ..Default::default() };
        let error = resolve(&request).expect_err("12 is no multiple of 8");
        assert!(error.field == "--gpus" && error.hint.contains('8'), "{error:?}");
    }

    #[test]
    fn no_offer_is_beaten_by_another_of_its_kind() {
        let machines = resolve(&HardwareRequest::default()).expect("resolves");
        assert!(machines.list.len() > 10 && machines.nodes_open);
        for (index, machine) in machines.list.iter().enumerate() {
            assert!(machine.offer.accelerator.runtime.is_supported());
            let kind = |other: &Machine| (other.offer.accelerator.name.clone(), other.offer.count);
            for cheaper in &machines.list[..index] {
                // CPUs that are not known are not counted as a limit, so they count as the most.
                let cpus = |one: &Machine| one.offer.vcpus.map_or(u32::MAX, |vcpus| vcpus);
                assert!(kind(cheaper) != kind(machine) || cpus(cheaper) < cpus(machine));
            }
        }
    }

    #[test]
    fn this_machine_has_a_price_in_any_case() {
        let request = HardwareRequest { offer: Some("this-machine".into()), ..HardwareRequest::default() };
        let machines = resolve(&request).expect("resolves");
        assert!(machines.is_this_machine());
        assert!(matches!(machines.list[0].price_source(), Source::Assumed { .. }));
        let price = Some(StatedPrice::PerMachineHour(Usd::from_dollars(0.1)));
        let machines = resolve(&HardwareRequest { price, ..request }).expect("resolves");
        assert_eq!(machines.list[0].price_source(), Source::Stated);
    }
}
