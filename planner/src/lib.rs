//! Decides: turns a budget into a recipe. No clock, disk, device or machine-learning framework here, and no
//! network outside [`prices`].

pub mod architecture;
pub mod recipe;
pub mod units;
