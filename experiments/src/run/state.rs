//! `state.json`: where a checkpoint stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::pace::Replan;
use super::timing::Timing;

/// The newest `version` of `state.json` that this program reads and the one it writes.
pub(super) const STATE_VERSION: u32 = 1;

/// Where training stands. Every random stream is a function of (seed, stream, sample number), so that these
/// numbers are the position of all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Format version, [`STATE_VERSION`].
    pub version: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// The recipe's seed.
    pub seed: u64,
    /// Name of the stage.
    pub stage: String,
    /// Place of the stage, from 0.
    pub stage_index: usize,
    /// Steps of the stage that are done.
    pub stage_step: u64,
    /// Samples of the stage that are done: the position of the data and of every random stream.
    pub stage_samples: u64,
    /// Steps done since the run began.
    pub step: u64,
    /// Samples since the run began.
    pub samples_seen: u64,
    /// What was drawn from the data since the run began.
    pub drawn: Drawn,
    /// Every change of a stage's steps that came from money: with these the schedule of what is still to come
    /// is that of what was done.
    #[serde(default)]
    pub replans: Vec<Replan>,
    /// How long things took, so that the next process can set money aside for them. No part of training.
    pub timing: Timing,
    /// The files beside this one, by name.
    pub files: BTreeMap<String, FileSeal>,
}

/// What was drawn from the data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drawn {
    /// Samples tried.
    pub samples: u64,
    /// Samples that could not be used (broken picture, empty caption, ...), by cause.
    pub bad: BTreeMap<String, u64>,
}

/// What a file must be to be whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSeal {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}
