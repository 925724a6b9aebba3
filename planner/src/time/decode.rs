//! How fast CPUs turn stored JPEGs into pixels.

use crate::spread::Spread;

/// Side of stored images where nobody says: what `img2dataset` is usually told to write.
pub const ASSUMED_STORED_IMAGE_PX: u32 = 256;

/// Images of [`ASSUMED_STORED_IMAGE_PX`] that one vCPU decodes, crops and resizes in a second: 200 to 400 with
/// fast JPEG libraries, less with slow ones.
const DECODED_PER_VCPU: Spread = Spread { p10: 150.0, p50: 250.0, p90: 400.0 };
/// Small images stop getting cheaper: opening a record, the entropy decoder's tables.
const SMALLEST_PX: u32 = 64;

/// Images a second that `vcpus` virtual CPUs decode when they are stored `stored_image_px` a side. Cost goes with
/// the pixels: 4 to 6 times faster at 112 px than at 256 px.
#[must_use]
pub fn decoded_per_second(vcpus: u32, stored_image_px: u32) -> Spread {
    let pixels = f64::from(ASSUMED_STORED_IMAGE_PX) / f64::from(stored_image_px.max(SMALLEST_PX));
    DECODED_PER_VCPU.map(|rate| rate * f64::from(vcpus) * pixels * pixels)
}
