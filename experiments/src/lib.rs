//! Does: carries a recipe out, under its cap, resumable at any moment.
//!
//! [`run::start`] trains; [`status`] says where runs stand; [`calibrate`] measures this machine for the planner.

pub mod calibrate;
pub mod evaluate;
mod events;
pub use shoestring_engine::measure as bench;
#[cfg(target_os = "linux")]
pub mod guard;
pub mod lease;
pub mod models;
mod money;
pub mod records;
pub mod run;
pub mod signals;
pub mod status;
pub mod till;
