//! Decides: turns a budget into a recipe. No clock, disk, device or machine-learning framework here, and no
//! network outside [`prices`].

pub mod accelerator;
pub mod architecture;
pub mod architectures;
pub mod backtest;
pub mod calibration;
pub mod compute;
pub mod dataset;
pub mod law;
pub mod memory;
pub mod money;
pub mod names;
pub mod offer;
pub mod open_clip;
pub mod plan;
pub mod prices;
pub mod published;
pub mod recipe;
pub mod search;
pub mod source;
pub mod spread;
pub mod time;
pub mod units;
