//! Patches cut out of pictures, in main memory, before they go to a device.

use rayon::prelude::*;

use crate::input::Images;

/// The kept patches' pixels, one patch a row, in the order of a convolution kernel: channel, row, column.
pub(super) fn unfold(images: &Images<'_>, patch: usize, kept: usize) -> Vec<f32> {
    let size = images.image_size_px;
    let side = size / patch;
    let row = 3 * patch * patch;
    let mut patches = vec![0f32; images.batch * kept * row];
    let samples = patches.par_chunks_mut(kept * row).zip(images.pixels.par_chunks(3 * size * size));
    samples.enumerate().for_each(|(sample, (patches, pixels))| {
        for (index, patch_pixels) in patches.chunks_exact_mut(row).enumerate() {
            let place = images
                .kept_patches
                .map_or(index, |kept_patches| kept_patches[sample * kept + index] as usize);
            let (top, left) = (place / side * patch, place % side * patch);
            for (line, target) in patch_pixels.chunks_exact_mut(patch).enumerate() {
                let (channel, y) = (line / patch, line % patch);
                let start = (channel * size + top + y) * size + left;
                target.copy_from_slice(&pixels[start..start + patch]);
            }
        }
    });
    patches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_cut_out_as_a_convolution_kernel_lies() {
        // Two images of 4 x 4, patches of 2 x 2; every pixel says where it is.
        let pixels: Vec<f32> = (0..2 * 3 * 16).map(|index| index as f32).collect();
        let all = Images { batch: 2, image_size_px: 4, pixels: &pixels, kept_patches: None };
        let patches = unfold(&all, 2, 4);
        assert_eq!(patches[..12], [0., 1., 4., 5., 16., 17., 20., 21., 32., 33., 36., 37.]);
        assert_eq!(patches[12..16], [2., 3., 6., 7.], "the second patch is the one to the right");
        assert_eq!(patches[24..28], [8., 9., 12., 13.], "the third begins the second row");
        let kept = [0, 3, 1, 2];
        let some = unfold(&Images { kept_patches: Some(&kept), ..all }, 2, 2);
        assert_eq!(some[..12], patches[..12]);
        assert_eq!(some[12..24], patches[36..48]);
        assert_eq!(some[24..36], patches[5 * 12..6 * 12]);
        assert_eq!(some[36..], patches[6 * 12..7 * 12]);
    }
}
