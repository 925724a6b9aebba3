//! How long the rough look takes, for benchmarks.

use super::space::Space;

const REPEATED_LOOKS: usize = 5;

/// How long the rough look takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LookTime {
    /// Shapes on numbers of machines that were looked at.
    pub candidates: u64,
    /// Seconds of the first look, which fills the tables.
    pub first_seconds: f64,
    /// Seconds of the shortest of five more looks.
    pub again_seconds: f64,
}

/// Looks roughly at everything that a request leaves open, six times; `clock` gives seconds.
pub fn time_rough_look(
    request: &super::Request,
    clock: &mut dyn FnMut() -> f64,
) -> Result<LookTime, super::SearchError> {
    let space = Space::new(request, request.law())?;
    let budget = request.budgets.first().copied().unwrap_or_default();
    let start = clock();
    space.look(budget);
    let first_seconds = clock() - start;
    let (mut candidates, mut again_seconds) = (0, f64::INFINITY);
    for _ in 0..REPEATED_LOOKS {
        let before = space.grid.looked_at();
        let start = clock();
        space.look(budget);
        again_seconds = again_seconds.min(clock() - start);
        candidates = space.grid.looked_at() - before;
    }
    Ok(LookTime { candidates, first_seconds, again_seconds })
}
