//! What the devices of a data-parallel step tell each other.

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::meeting::Meeting;
use crate::error::Result;

/// One device's line to the others. There are `ranks` of them, numbered from 0.
///
/// Every rank calls the same functions in the same order, with tensors of the same shapes, each on its own device
/// and in its own thread; every rank gets the same numbers. A call returns an error that names the rank where one
/// of the others has failed.
pub(super) trait Collective: Debug + Send {
    /// How many there are.
    fn ranks(&self) -> usize;
    /// Which one this is.
    fn rank(&self) -> usize;
    /// Every rank's `own` (n, ...), joined along the first dimension in order of rank: (ranks n, ...).
    fn gather(&self, own: &Tensor) -> Result<Tensor>;
    /// The sum over the ranks of each tensor.
    fn sum(&self, own: Vec<Tensor>) -> Result<Vec<Tensor>>;
    /// Says that this rank has failed, so that nobody waits for it, now or later.
    fn leave(&self);
}

/// Lines between devices, in their order.
///
/// All are in this process, a thread each: one process has one ledger, one lease and one reader of the data, and a
/// rank that fails is known to the others at once.
pub(super) fn connect(devices: &[Device]) -> Result<Vec<Box<dyn Collective>>> {
    if devices.len() < 2 {
        return Ok(devices.iter().map(|_| Box::new(Alone) as Box<dyn Collective>).collect());
    }
    #[cfg(feature = "cuda")]
    if devices.iter().all(Device::is_cuda) {
        return super::nccl::connect(devices);
    }
    let meeting = Arc::new(Meeting::new(devices.len()));
    let of_rank = |rank| Box::new(Shared { ranks: devices.len(), rank, meeting: Arc::clone(&meeting) });
    Ok((0..devices.len()).map(|rank| of_rank(rank) as Box<dyn Collective>).collect())
}

/// One device, which has nobody to tell.
#[derive(Debug)]
struct Alone;

impl Collective for Alone {
    fn ranks(&self) -> usize {
        1
    }

    fn rank(&self) -> usize {
        0
    }

    fn gather(&self, own: &Tensor) -> Result<Tensor> {
        Ok(own.clone())
    }

    fn sum(&self, own: Vec<Tensor>) -> Result<Vec<Tensor>> {
        Ok(own)
    }

    fn leave(&self) {}
}

/// Ranks that reach each other's tensors, as threads on candle's CPU device do. Sums are taken in order of rank, so
/// that the same input gives the same bits.
#[derive(Debug)]
struct Shared {
    ranks: usize,
    rank: usize,
    meeting: Arc<Meeting<Vec<Tensor>>>,
}

impl Collective for Shared {
    fn ranks(&self) -> usize {
        self.ranks
    }

    fn rank(&self) -> usize {
        self.rank
    }

    fn gather(&self, own: &Tensor) -> Result<Tensor> {
        let all = self.meeting.exchange(self.rank, vec![own.clone()])?;
        Ok(Tensor::cat(&all.iter().flatten().collect::<Vec<_>>(), 0)?)
    }

    fn sum(&self, own: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let all = self.meeting.exchange(self.rank, own)?;
        let mut sums = all[0].clone();
        for of_rank in &all[1..] {
            for (sum, tensor) in sums.iter_mut().zip(of_rank) {
                *sum = (&*sum + tensor)?;
            }
        }
        Ok(sums)
    }

    fn leave(&self) {
        self.meeting.leave(self.rank);
    }
}
