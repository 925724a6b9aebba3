//! Models out and in: `open_clip` folders, Hugging Face folders and `PyTorch` archives as the engine's
//! tensors, and back; model cards.
//!
//! What is read was written by others: lengths, offsets and shapes are checked before they are believed, a
//! pickle is read as data and nothing in it is ever called.

mod archive;
mod card;
mod error;
mod files;
mod folder;
mod hugging_face;
mod model;
mod open_clip;
mod pickle;
mod tokenizer;
mod weights;

pub use self::card::{Card, Fact, card_text};
pub use self::error::{ExchangeError, Result};
pub use self::folder::{Form, Found, read_model, read_weights_with_config};
pub use self::hugging_face::write_hugging_face;
pub use self::model::{Interpolation, Model, Preprocess, ResizeMode, engine_bytes};
pub use self::open_clip::{CONFIG_NAME, WEIGHTS_NAME, write_open_clip};
pub use self::weights::{Weight, Weights, read_safetensors, safetensors_bytes};
