//! The GPUs of one machine, by NVIDIA's library for them.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::{Comm, ReduceOp};
use candle_core::cuda_backend::{CudaStorage, WrapErr};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};

use super::collective::Collective;
use super::meeting::Meeting;
use crate::error::{EngineError, Result};

/// Lines between GPUs, in their order.
pub(super) fn connect(devices: &[Device]) -> Result<Vec<Box<dyn Collective>>> {
    let mut streams = Vec::with_capacity(devices.len());
    for device in devices {
        streams.push(device.as_cuda_device()?.cuda_stream());
    }
    let comms = Comm::from_devices(streams).map_err(|error| EngineError::Nccl(what(&error)))?;
    let meeting = Arc::new(Meeting::new(devices.len()));
    let of_rank = |comm| Box::new(Nccl { comm, meeting: Arc::clone(&meeting) }) as Box<dyn Collective>;
    Ok(comms.into_iter().map(of_rank).collect())
}

/// The name of NCCL's error: its own text says no more than that it is one.
fn what(error: &NcclError) -> String {
    format!("{:?}", error.0)
}

#[derive(Debug)]
struct Nccl {
    comm: Comm,
    meeting: Arc<Meeting<()>>,
}

// SAFETY: a communicator may be used by one thread after the other, only not by two at a time ("Thread safety" in
// NCCL's guide); nothing here hands out a reference to it, and `Nccl` is not `Sync`.
unsafe impl Send for Nccl {}

impl Nccl {
    /// Starts an operation once every rank is there to start it too, and returns once all have: a GPU that has
    /// begun one waits for the others with nothing that could stop it.
    fn together<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        self.comm.context().bind_to_thread().w()?;
        self.meeting.exchange(self.comm.rank(), ())?;
        let started = start()?;
        self.meeting.exchange(self.comm.rank(), ())?;
        Ok(started)
    }
}

impl Collective for Nccl {
    fn ranks(&self) -> usize {
        self.comm.world_size()
    }

    fn rank(&self) -> usize {
        self.comm.rank()
    }

    fn gather(&self, own: &Tensor) -> Result<Tensor> {
        let own = own.contiguous()?;
        self.together(|| Ok(own.apply_op1_no_bwd(&Gather(&self.comm))?))
    }

    fn sum(&self, own: Vec<Tensor>) -> Result<Vec<Tensor>> {
        // Each goes as soon as its sum is on the way (the stream frees it after that), so that there are never all
        // gradients twice.
        let sum = |tensor: Tensor| Ok(tensor.contiguous()?.apply_op1_no_bwd(&Sum(&self.comm))?);
        self.together(|| own.into_iter().map(sum).collect())
    }

    fn leave(&self) {
        self.meeting.leave(self.comm.rank());
    }
}

/// [`Collective::gather`] of `f32` numbers without gaps.
struct Gather<'a>(&'a Comm);

/// [`Collective::sum`] of one tensor of `f32` numbers without gaps.
struct Sum<'a>(&'a Comm);

impl CustomOp1 for Gather<'_> {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Err(not_a_gpu())
    }

    fn cuda_fwd(&self, own: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let ranks = self.0.world_size();
        let mut shape = layout.dims().to_vec();
        let first = shape.first_mut().ok_or_else(|| candle_core::Error::Msg("no dimension".to_owned()))?;
        *first *= ranks;
        let count = layout.shape().elem_count();
        let numbers = own.as_cuda_slice::<f32>()?.slice(layout.start_offset()..layout.start_offset() + count);
        // SAFETY: the call below writes every number.
        let mut all = unsafe { own.device().alloc::<f32>(ranks * count)? };
        self.0.all_gather(&numbers, &mut all).map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(all, own.device().clone()), Shape::from(shape)))
    }
}

impl CustomOp1 for Sum<'_> {
    fn name(&self) -> &'static str {
        "sum over ranks"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Err(not_a_gpu())
    }

    fn cuda_fwd(&self, own: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let count = layout.shape().elem_count();
        let numbers = own.as_cuda_slice::<f32>()?.slice(layout.start_offset()..layout.start_offset() + count);
        // SAFETY: the call below writes every number.
        let mut sums = unsafe { own.device().alloc::<f32>(count)? };
        self.0.all_reduce(&numbers, &mut sums, &ReduceOp::Sum).map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(sums, own.device().clone()), layout.shape().clone()))
    }
}

fn failed(error: NcclError) -> candle_core::Error {
    candle_core::Error::Msg(format!("NCCL: {}", what(&error)))
}

fn not_a_gpu() -> candle_core::Error {
    candle_core::Error::Msg("NCCL joins GPUs only".to_owned())
}
