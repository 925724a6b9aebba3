//! What the user's own runs move.

use super::candidate::Candidate;
use super::space::Space;
use crate::law::{Law, Offset};
use crate::plan::OwnRunsEffect;

impl Space<'_> {
    /// What the user's own runs make of a plan's accuracy; `None` without any.
    pub(super) fn own_runs(&self, candidate: &Candidate) -> Option<OwnRunsEffect> {
        let refined = self.request.own_runs?;
        let shapes = candidate.shapes();
        let case = self.case(candidate.architecture, &shapes);
        let before = Law::with_offset(&refined.law, Offset::NONE).predict(&case).accuracy_percent;
        let moved_points = candidate.accuracy().zip(before).map(|(accuracy, before)| accuracy - before.p50);
        Some(OwnRunsEffect { refined, moved_points })
    }
}
