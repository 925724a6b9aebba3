//! What an existing recipe costs, takes, needs and brings.

use super::candidate::{Bound, Candidate};
use super::error::{RequestError, SearchError};
use super::machine::Machine;
use super::request::{DataRequest, HardwareRequest, Request, StatedPrice};
use super::space::Space;
use crate::accelerator;
use crate::memory::largest_microbatch;
use crate::money;
use crate::offer::{self, Offer, THIS_MACHINE};
use crate::plan::OwnRunsEffect;
use crate::recipe::Recipe;
use crate::units::Usd;

/// A recipe with what is to be expected of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// The recipe's name.
    pub name: String,
    /// Its cap.
    pub cap: Usd,
    /// Cost, time, memory, accuracy.
    pub candidate: Candidate,
    /// Probability that carrying it out costs at most the cap.
    pub within_cap: f64,
    /// What the user's own runs moved, where there are any.
    pub own_runs: Option<OwnRunsEffect>,
    /// What does not fit into memory, in words.
    pub does_not_fit: Option<String>,
}

/// Reckons a recipe with the planner's models. `request` gives what is not the recipe's: the day, a calibration.
pub fn assess(recipe: &Recipe, request: &Request) -> Result<Assessment, SearchError> {
    let hardware = &recipe.hardware;
    let own = hardware.offer == THIS_MACHINE;
    let request = Request {
        budgets: vec![recipe.budget.cap_usd],
        hardware: HardwareRequest {
            offer: own.then(|| THIS_MACHINE.to_owned()),
            gpu: (!own).then(|| hardware.accelerator.clone()),
            gpus: (!own).then_some(hardware.count),
            price: (hardware.usd_per_hour > Usd::ZERO)
                .then_some(StatedPrice::PerMachineHour(hardware.usd_per_hour)),
            ..HardwareRequest::default()
        },
        data: DataRequest::Own(Box::new(recipe.data.clone())),
        data_stated: true,
        // Read once in the life of a program.
        own_architecture: Some(Box::leak(Box::new(recipe.architecture.clone()))),
        ..request.clone()
    };
    let space = Space::new(&request, request.law())?;
    let Some(&architecture) = space.architectures.first() else {
        let hint = "write an [architecture] into the recipe";
        return Err(RequestError::new("architecture", "-", "there is none", hint).into());
    };
    let machine = if own { space.machine(0, 1) } else { rented(recipe)? };
    let speed = space.speed_of(&machine);
    let options = space.options_on(&recipe.evaluation, &machine);
    let cost = money::cost(architecture, &recipe.stages, &speed, &machine.rental(), &options);
    let does_not_fit = recipe.stages.iter().find_map(|stage| {
        let image = stage.image_tokens(architecture);
        let (accelerator, devices) = (machine.offer.accelerator, machine.devices());
        largest_microbatch(architecture, image, stage.text_tokens, accelerator, devices, stage.batch)
            .err()
            .map(|error| format!("{}: {error}", stage.name))
    });
    if let Some(reason) = does_not_fit {
        let hint = "take more devices or ones with more memory, a smaller batch, or fewer tokens".to_owned();
        return Err(SearchError::OutOfReach { reason, hint });
    }
    let within_cap = cost.probability_within(recipe.budget.cap_usd);
    let bill = (recipe.evaluation.clone(), cost);
    let Some(candidate) = space.candidate(architecture, recipe.stages.clone(), machine, bill, Bound::Samples)
    else {
        let hint = "take more devices or ones with more memory".to_owned();
        return Err(SearchError::OutOfReach { reason: "a step does not fit into memory".to_owned(), hint });
    };
    let mut candidate = space.with_evidence(candidate);
    if recipe.start.is_some() {
        // What was trained before costs nothing here, and the law knows nothing of it.
        candidate.prediction.accuracy_percent = None;
    }
    let own_runs = space.own_runs(&candidate);
    Ok(Assessment {
        name: recipe.name.clone(),
        cap: recipe.budget.cap_usd,
        candidate,
        within_cap,
        own_runs,
        does_not_fit: None,
    })
}

/// The recipe's machine at its price, with the catalogue's CPUs where the offer is known.
fn rented(recipe: &Recipe) -> Result<Machine, SearchError> {
    let hardware = &recipe.hardware;
    let accelerator = accelerator::find(&hardware.accelerator).map_err(|error| {
        let hint = error.hint().unwrap_or_else(|| "`shoestring prices list` names them".to_owned());
        RequestError::new("hardware.accelerator", &hardware.accelerator, "no accelerator is called so", hint)
    })?;
    let known = offer::find(&hardware.offer).ok().and_then(|found| {
        found.into_iter().find(|offer| {
            offer.accelerator.name == accelerator.name && hardware.count.is_multiple_of(offer.count.max(1))
        })
    });
    let nodes = known.map_or(1, |offer| hardware.count / offer.count.max(1));
    let each = Usd::from_micros(hardware.usd_per_hour.micros() / i64::from(nodes.max(1)));
    let offer = match known {
        Some(offer) => offer.at_price(each),
        None => Offer::stated(accelerator, hardware.count, each),
    };
    Ok(Machine { offer, nodes, spot: hardware.spot, usd_per_hour: hardware.usd_per_hour })
}
