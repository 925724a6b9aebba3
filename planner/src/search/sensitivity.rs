//! What is not known exactly: whether the choice changes with it, and what one more of each limit would bring.

use super::candidate::{Bound, Candidate};
use super::choose::Outcome;
use super::explain::points_over;
use super::request::Request;
use super::rough::Rough;
use super::space::Space;
use crate::law::Law;
use crate::plan::{Marginal, Reasoning, Sensitivity, ShadowPrice, SizeRow, TiedRow, TokenRow, money};
use crate::units::{Hours, Samples, Usd};

/// Prices are tried this much higher and lower.
const PRICE_CHANGE: f64 = 0.2;
/// Tied plans that are listed.
const TIED_ROWS: usize = 12;

/// Whether two plans differ in more than their samples.
pub(super) fn differs(a: &Candidate, b: &Candidate) -> bool {
    let form = |candidate: &Candidate| {
        candidate
            .stages
            .iter()
            .map(|planned| (planned.stage.image_size_px, planned.image_tokens, planned.stage.text_tokens))
            .collect::<Vec<_>>()
    };
    a.architecture.name != b.architecture.name
        || form(a) != form(b)
        || a.machine.offer.accelerator.name != b.machine.offer.accelerator.name
}

/// What would be chosen if training turned out as slow, or as fast, as one run in ten: the cost at its P90 and P10,
/// nearly all of which is the speed, has to fit the budget then.
pub(super) fn speed(request: &Request, law: &'static Law) -> Vec<Sensitivity> {
    if request.target_accuracy_percent.is_some() {
        return Vec::new();
    }
    let Some(&budget) = request.budgets.first() else { return Vec::new() };
    [("speed P10", 0.9), ("speed P90", 0.1)]
        .into_iter()
        .filter_map(|(what, confidence)| {
            let request = Request { confidence, budgets: vec![budget], ..request.clone() };
            let space = Space::new(&request, law).ok()?;
            let plan = space.decide(budget).ok().map(|outcome| outcome.chosen);
            Some(Sensitivity { what, plan, changes: false })
        })
        .collect()
}

impl Space<'_> {
    /// Prices a fifth higher and lower (which is the budget divided by as much), and the ends of the law's interval.
    pub(super) fn sensitivity(&self, outcome: &Outcome, budget: Usd) -> Vec<Sensitivity> {
        if self.request.target_accuracy_percent.is_some() {
            return Vec::new();
        }
        let at_price = |factor: f64| {
            let as_if = Usd::from_dollars(budget.dollars() / factor);
            self.decide(as_if).ok().map(|outcome| outcome.chosen)
        };
        let mut found = vec![
            Sensitivity { what: "price +20 %", plan: at_price(1.0 + PRICE_CHANGE), changes: false },
            Sensitivity { what: "price -20 %", plan: at_price(1.0 - PRICE_CHANGE), changes: false },
        ];
        if self.training.known {
            let ranked = |end: fn(&Candidate) -> Option<f64>| {
                let best = outcome.finalists.iter().map(|(_, candidate)| candidate);
                best.max_by(|a, b| end(a).unwrap_or(0.0).total_cmp(&end(b).unwrap_or(0.0))).cloned()
            };
            let low = ranked(|candidate| Some(candidate.prediction.accuracy_percent?.p10));
            let high = ranked(|candidate| Some(candidate.prediction.accuracy_percent?.p90));
            // Without ties: what is the most accurate if every prediction is missed low, or high?
            found.push(Sensitivity { what: "law P10", plan: low, changes: false });
            found.push(Sensitivity { what: "law P90", plan: high, changes: false });
        }
        found
    }

    /// One more dollar, accelerator, day, million different images.
    pub(super) fn shadow_prices(
        &self,
        outcome: &Outcome,
        marginal: &Marginal,
        budget: Usd,
    ) -> Vec<ShadowPrice> {
        let chosen = &outcome.chosen;
        let mut found = Vec::new();
        let mut add =
            |what, points: Option<f64>, words: String| found.push(ShadowPrice { what, points, words });
        let each = marginal.points.map(|points| points.max(0.0) / marginal.more_usd.dollars());
        let words = match each {
            Some(each) => format!("one more dollar: {each:.2e} points (a tenth more budget, divided)"),
            None => "one more dollar: no accuracy is claimed".to_owned(),
        };
        add("dollar", each, words);

        let late = chosen.bound == Bound::Deadline;
        let more_time = |hours: f64, request: Request| {
            let request = Request { deadline: self.deadline.map(|end| Hours(end.0 + hours)), ..request };
            let space = Space::new(&request, self.law).ok()?;
            points_over(&space.decide(budget).ok()?.best, &outcome.best)
        };
        let one_machine = chosen.machine.offer.count;
        if let (true, Some(gpus)) = (late, self.request.hardware.gpus) {
            let mut request = self.request.clone();
            request.hardware.gpus = Some(gpus + one_machine);
            let points = more_time(0.0, request).map(|points| points.max(0.0) / f64::from(one_machine));
            let shown = points.unwrap_or(0.0);
            add(
                "gpu",
                points,
                format!("one more GPU: {shown:.3} points (one machine of {one_machine} more, divided)"),
            );
        } else {
            let why = if late { "their number is open already" } else { "money binds, not time" };
            let points = chosen.accuracy().map(|_| 0.0);
            add("gpu", points, format!("one more GPU: nothing, {why}"));
        }
        if late {
            let points = more_time(24.0, self.request.clone()).map(|points| points.max(0.0));
            add("day", points, format!("one more day: {:.2} points", points.unwrap_or(0.0)));
        } else {
            let points = chosen.accuracy().map(|_| 0.0);
            add("day", points, "one more day: nothing, no deadline binds".to_owned());
        }
        let shapes = chosen.shapes();
        let mut case = self.case(chosen.architecture, &shapes);
        case.data.unique_samples = Samples(case.data.unique_samples.0 + 1_000_000);
        let gained = (chosen.prediction.error_percent - self.law.error_percent(&case)).max(0.0);
        let points = chosen.accuracy().map(|_| gained);
        add("million_images", points, format!("one million more different images: {gained:.2e} points"));
        found
    }

    /// The choice in numbers, for `--explain`.
    pub(super) fn reasoning(&self, outcome: &Outcome) -> Reasoning {
        let feasible: Vec<&Rough> = outcome.roughs.iter().filter(|rough| rough.feasible).collect();
        let of = |index: usize| feasible.iter().filter(move |rough| self.shapes[rough.shape].index == index);
        let by_size = (0..self.architectures.len())
            .filter_map(|index| {
                // Feasible ones are sorted by error.
                let best = of(index).next()?;
                let shape = &self.shapes[best.shape];
                Some(SizeRow {
                    architecture: super::short_name(shape.architecture),
                    feasible: of(index).count(),
                    image_size_px: shape.pretraining.image_size_px,
                    text_tokens: shape.pretraining.text_tokens.0,
                    samples: Samples(best.samples),
                    error_percent: best.error,
                    machine: self.machine(best.machine, best.nodes).label(),
                    usd: best.usd,
                })
            })
            .collect();
        let least = outcome.best.prediction.error_percent;
        let mut tied: Vec<TiedRow> = outcome
            .finalists
            .iter()
            .filter(|(_, candidate)| candidate.prediction.error_percent <= least + outcome.tolerance)
            .map(|(_, candidate)| TiedRow {
                label: candidate.label(),
                error_percent: candidate.prediction.error_percent,
                distance: candidate.prediction.distance,
            })
            .collect();
        tied.sort_by(|a, b| a.error_percent.total_cmp(&b.error_percent));
        tied.truncate(TIED_ROWS);
        let mut by_tokens: Vec<TokenRow> = Vec::new();
        for rough in &feasible {
            let shape = &self.shapes[rough.shape];
            let tokens = shape.architecture.vision_cfg.tokens_at(shape.pretraining.image_size_px).0;
            let name = super::short_name(shape.architecture);
            // The first is the best.
            if !by_tokens.iter().any(|row| row.architecture == name && row.image_tokens == tokens) {
                by_tokens.push(TokenRow {
                    architecture: name,
                    image_tokens: tokens,
                    error_percent: rough.error,
                });
            }
        }
        by_tokens
            .sort_by(|a, b| a.architecture.cmp(&b.architecture).then(a.image_tokens.cmp(&b.image_tokens)));
        Reasoning {
            candidates: self.grid.looked_at(),
            shapes: self.shapes.len(),
            feasible: feasible.len(),
            by_size,
            by_reduction: self.reduction_rows(&outcome.chosen),
            tied,
            by_tokens,
        }
    }

    /// What storage would cost, where nobody asked for it.
    pub(super) fn storage_remark(&self, chosen: &Candidate) -> Option<String> {
        let keeping = &self.request.keeping;
        if keeping.storage_usd_per_gb_month.is_some() || self.machines.is_this_machine() {
            return None;
        }
        let gb = keeping.gb(self.training.data.unique_samples);
        let (dollars, months) = (0.023, chosen.cost.hours.p50.0 / 730.0);
        let cost = Usd::from_dollars(gb * dollars * months);
        (cost.dollars() > 0.002 * chosen.cost.total.p50.dollars()).then(|| {
            format!(
                "keeping and sending the data is not in the bill: {} GB would cost about {} USD while this runs, at S3's \
                 {dollars} USD per GB-month (--storage-price, --egress-price, --data-gb)",
                crate::units::grouped(gb.round() as u64),
                money(cost)
            )
        })
    }
}
