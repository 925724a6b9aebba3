//! Pictures: from a file's bytes to normalised pixels at a stage's size, and which patches are kept.

mod decode;
mod jpeg;
mod kept;
mod resize;

pub use self::decode::{DecodeError, MAX_BYTES, MAX_PIXELS, decode, decode_view, jpeg_shape};
pub use self::kept::kept_patches;
pub use self::resize::{Region, View, mean_std, random_resized_crop, resize_view, resize_whole};

/// A picture: 8-bit red, green, blue, row by row from the top, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// `height * width * 3` bytes.
    pub pixels: Vec<u8>,
}
