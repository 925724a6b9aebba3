//! The image tower's way from pixels to what its first block starts from, and back.
//!
//! Patches are cut out slab by slab and multiplied with the flattened kernel of the convolution while they are in the
//! second-level cache; they are cut out again on the way back rather than kept. Bound by FLOPs: with r = 3 patch²
//! numbers, 2 r w a patch forward and as many for the weight's gradient, at 4 r bytes of pixels.

use candle_core::WithDType;
use rayon::prelude::*;
use shoestring_planner::architecture::ImagePositions;

use super::backward::{From, chunks, gradient_rows};
use super::epilogues::StoreReal;
use super::{Buffers, Work};
use crate::error::Result;
use crate::gradients::Gradients;
use crate::input::Images;
use crate::ops::multiply::{Depth, Epilogue, Left, Right, multiply};
use crate::ops::pack::{self, Source, groups_of, interleave, left_len, packed_len, row_stride, transpose};
use crate::ops::stored::Stored;
use crate::ops::tile::COLUMNS;
use crate::ops::{ROWS_A_TASK, add_to, in_order, norm_rows, norm_rows_backward};
use crate::params::{IMAGE_POSITIONS, Parameters};
use crate::positions::position_table;
use crate::real::{Real, with_numbers};

const KERNEL: &str = "visual.conv1.weight";
const CLASS: &str = "visual.class_embedding";
const NORM: [&str; 2] = ["visual.ln_pre.weight", "visual.ln_pre.bias"];

/// The patches of a batch of images.
#[derive(Clone, Copy)]
pub(crate) struct Patches<'a> {
    pub(crate) work: Work,
    images: Images<'a>,
    /// Side of a patch in pixels.
    patch: usize,
    /// Patches of each image.
    kept: usize,
    positions: ImagePositions,
    /// Whether a norm comes before the first block.
    norm: bool,
}

/// What the blocks start from, (samples * tokens, width): a class token and then the patches.
pub(crate) struct Start<R> {
    pub(crate) x: Vec<R>,
    /// The same before the norm, where there is one.
    pub(crate) before_norm: Option<Vec<R>>,
}

/// Puts a product's rows, a patch each, where they belong among the tokens of a slab, and adds their positions.
struct Place<'a, R> {
    /// (1 + grid places, width); the first row is the class token's.
    positions: &'a [R],
    /// Places of the slab's patches on the grid; absent: every sample has them all, in order.
    places: Option<&'a [u32]>,
    kept: usize,
    width: usize,
    x: &'a mut [R],
}

impl<R: Real> Epilogue<R> for Place<'_, R> {
    #[inline(always)]
    fn row<const FUSED: bool>(&mut self, row: usize, column: usize, values: &[R]) {
        let (sample, patch) = (row / self.kept, row % self.kept);
        let place = self.places.map_or(patch, |places| places[row] as usize);
        let position = &self.positions[(1 + place) * self.width + column..];
        let start = (sample * (self.kept + 1) + 1 + patch) * self.width + column;
        for ((x, &value), &position) in self.x[start..][..values.len()].iter_mut().zip(values).zip(position) {
            *x = value + position;
        }
    }
}

impl<'a> Patches<'a> {
    /// `work` is the image tower's on these images, whose patches have `patch` pixels a side.
    pub(crate) fn new(
        work: Work,
        images: Images<'a>,
        patch: usize,
        positions: ImagePositions,
        norm: bool,
    ) -> Self {
        Self { work, images, patch, kept: work.tokens - 1, positions, norm }
    }

    /// Numbers of a patch.
    pub(super) fn numbers(&self) -> usize {
        3 * self.patch * self.patch
    }

    pub(super) fn groups<S: Stored>(&self) -> usize {
        groups_of::<S>(self.work.level, self.numbers())
    }

    /// Cuts out the patches of samples from `first` on, one a row, in the order of a convolution kernel (channel,
    /// row, column), rows `stride` numbers apart and zeros in between. 4 bytes read and, in bf16, 2 written
    /// for each number, in runs of a patch's side; bound by rounding them, since it is compiled for the baseline's
    /// vectors alone.
    pub(super) fn cut<S: Stored>(&self, first: usize, stride: usize, out: &mut [S]) {
        let (size, patch) = (self.images.image_size_px, self.patch);
        let side = size / patch;
        let samples = out.chunks_exact_mut(self.kept * stride);
        let pixels = self.images.pixels.chunks_exact(3 * size * size).skip(first);
        for (sample, (rows, pixels)) in samples.zip(pixels).enumerate() {
            for (index, row) in rows.chunks_exact_mut(stride).enumerate() {
                let number = (first + sample) * self.kept + index;
                let place = self.images.kept_patches.map_or(index, |places| places[number] as usize);
                let (top, left) = (place / side * patch, place % side * patch);
                let (used, rest) = row.split_at_mut(self.numbers());
                for (line, target) in used.chunks_exact_mut(patch).enumerate() {
                    let (channel, y) = (line / patch, line % patch);
                    let start = (channel * size + top + y) * size + left;
                    for (target, &pixel) in target.iter_mut().zip(&pixels[start..start + patch]) {
                        *target = S::narrow(S::Real::from_f64(f64::from(pixel)));
                    }
                }
                rest.fill(S::default());
            }
        }
    }

    /// The positions' table, (1 + grid places, width): computed, the class token's zero; or trained.
    fn table<R: Real>(&self, parameters: &Parameters) -> Result<Vec<R>> {
        let width = self.work.tower.width;
        Ok(match self.positions {
            ImagePositions::SinCos2d => {
                let table = position_table(self.images.image_size_px / self.patch, width);
                std::iter::repeat_n(R::ZERO, width).chain(table.into_iter().map(R::from_f64)).collect()
            }
            ImagePositions::Learnable => {
                with_numbers::<R, _>(parameters.get(IMAGE_POSITIONS)?, <[R]>::to_vec)?
            }
        })
    }

    /// Numbers from a patch to the next.
    fn stride<S: Stored>(&self) -> usize {
        row_stride::<S>(self.groups::<S>() * S::GROUP)
    }

    /// Numbers of a slab's patches.
    pub(super) fn room<S: Stored>(&self) -> usize {
        self.work.slab_samples() * self.kept * self.stride::<S>()
    }

    /// A slab's tokens: x = class + position, then kernel · patch + position for each patch. Bound by FLOPs: 2 r for
    /// each number of a token, r numbers to a patch.
    pub(super) fn embed_slab<S: Stored>(
        &self,
        slab: usize,
        kernel: Right<'_, S>,
        class: &[S::Real],
        table: &[S::Real],
        patches: &mut [S],
        x: &mut [S::Real],
    ) {
        let (work, width) = (self.work, self.work.tower.width);
        let stride = self.stride::<S>();
        let first = slab * work.slab_samples();
        let rows = x.len() / (work.tokens * width) * self.kept;
        self.cut(first, stride, &mut patches[..rows * stride]);
        for sample in x.chunks_exact_mut(work.tokens * width) {
            for ((x, &class), &position) in sample.iter_mut().zip(class).zip(&table[..width]) {
                *x = class + position;
            }
        }
        let places = self.images.kept_patches.map(|places| &places[first * self.kept..]);
        let mut to = Place { positions: table, places, kept: self.kept, width, x };
        let depth = Depth::padded::<S>(work.level, self.numbers());
        let left = Left::rows_of_depth(patches, rows, depth, stride);
        multiply(work.level, left, 0..rows, kernel, &mut to);
    }

    /// The tokens that the first block starts from.
    pub(crate) fn embed<S: Stored>(
        &self,
        parameters: &Parameters,
        buffers: &Buffers<S>,
    ) -> Result<Start<S::Real>> {
        let (work, width, groups) = (self.work, self.work.tower.width, self.groups::<S>());
        let table = self.table::<S::Real>(parameters)?;
        let class = with_numbers::<S::Real, _>(parameters.get(CLASS)?, <[S::Real]>::to_vec)?;
        let mut kernel = buffers.take(packed_len(width, COLUMNS, groups, S::GROUP));
        with_numbers::<S::Real, _>(parameters.get(KERNEL)?, |numbers| {
            let source = Source::new(numbers, width, self.numbers(), self.numbers());
            transpose(work.level, source, groups, &mut kernel);
        })?;
        let depth = Depth::padded::<S>(work.level, self.numbers());
        let right = Right::packed(&kernel, width, depth);
        let mut x = buffers.take_real(work.rows() * width);
        let slabs = x.par_chunks_mut(work.slab_rows() * width).enumerate().with_max_len(1);
        slabs.for_each(|(slab, x)| {
            let mut patches = buffers.take(self.room::<S>());
            self.embed_slab(slab, right, &class, &table, &mut patches, x);
            buffers.give(patches);
        });
        buffers.give(kernel);
        if !self.norm {
            return Ok(Start { x, before_norm: None });
        }
        let mut normed = buffers.take_real(x.len());
        let (weight, bias) = (parameters.get(NORM[0])?, parameters.get(NORM[1])?);
        with_numbers::<S::Real, _>(weight, |weight| {
            with_numbers::<S::Real, _>(bias, |bias| {
                let task = ROWS_A_TASK * width;
                let tasks = normed.par_chunks_mut(task).zip(x.par_chunks(task));
                tasks.for_each(|(y, x)| norm_rows(x, weight, bias, y));
            })
        })??;
        Ok(Start { x: normed, before_norm: Some(x) })
    }

    /// Adds the gradients of what is trained on the way to the first block, given that of what it starts from.
    /// `before_norm` is what [`Patches::embed`] gave.
    pub(crate) fn backward<S: Stored>(
        &self,
        parameters: &Parameters,
        buffers: &Buffers<S>,
        mut dx: Vec<S::Real>,
        before_norm: Option<Vec<S::Real>>,
        gradients: &mut Gradients<S::Real>,
    ) -> Result<()> {
        let width = self.work.tower.width;
        if let Some(x) = before_norm {
            let mut through = buffers.take_real(dx.len());
            let sums: Vec<S::Real> = with_numbers(parameters.get(NORM[0])?, |weight: &[S::Real]| {
                let task = ROWS_A_TASK * width;
                let tasks = through.par_chunks_mut(task).zip(x.par_chunks(task)).zip(dx.par_chunks(task));
                let partial = tasks.map(|((dx, x), dy)| {
                    let (mut sums, mut room) = (vec![S::Real::ZERO; 2 * width], vec![S::Real::ZERO; width]);
                    norm_rows_backward(x, weight, dy, dx, &mut sums, &mut room);
                    sums
                });
                in_order(partial.collect(), 2 * width)
            })?;
            gradients.add(NORM[0], sums[..width].to_vec());
            gradients.add(NORM[1], sums[width..].to_vec());
            buffers.give_real(x);
            buffers.give_real(std::mem::replace(&mut dx, through));
        }
        let mut d_class = vec![S::Real::ZERO; width];
        for sample in dx.chunks_exact(self.work.tokens * width) {
            add_to(&mut d_class, &sample[..width]);
        }
        if self.positions == ImagePositions::Learnable {
            let mut d_table = vec![S::Real::ZERO; parameters.get(IMAGE_POSITIONS)?.elem_count()];
            d_table[..width].copy_from_slice(&d_class);
            for (sample, dx) in dx.chunks_exact(self.work.tokens * width).enumerate() {
                for (patch, dx) in dx[width..].chunks_exact(width).enumerate() {
                    let number = sample * self.kept + patch;
                    let place = self.images.kept_patches.map_or(patch, |places| places[number] as usize);
                    add_to(&mut d_table[(1 + place) * width..][..width], dx);
                }
            }
            gradients.add(IMAGE_POSITIONS, d_table);
        }
        gradients.add(CLASS, d_class);
        gradients.add(KERNEL, self.kernel_gradient(buffers, &dx));
        buffers.give_real(dx);
        Ok(())
    }

    /// dxᵀ patches, over the rows of all patches: both operands packed slab by slab, and then their product. Bound by
    /// FLOPs: 2 r for each number of a patch's token.
    pub(super) fn kernel_gradient<S: Stored>(&self, buffers: &Buffers<S>, dx: &[S::Real]) -> Vec<S::Real> {
        let (work, width, numbers) = (self.work, self.work.tower.width, self.numbers());
        let (slabs, samples) = (work.slabs(), work.slab_samples());
        let groups = groups_of::<S>(work.level, samples * self.kept);
        let last = work.samples - (slabs - 1) * samples;
        let depth =
            Depth { segments: slabs, groups, last_groups: groups_of::<S>(work.level, last * self.kept) };
        let mut left = buffers.take(slabs * left_len::<S>(work.level, width, groups));
        let mut right = buffers.take(slabs * packed_len(numbers, COLUMNS, groups, S::GROUP));
        let segments: Vec<_> = chunks(&mut left, slabs).zip(chunks(&mut right, slabs)).collect();
        let parts = segments.into_par_iter().zip(dx.par_chunks(work.slab_rows() * width)).enumerate();
        parts.with_max_len(1).for_each(|(slab, ((left, right), dx))| {
            let rows = dx.len() / (work.tokens * width) * self.kept;
            let mut room = buffers.take(samples * self.kept * width.max(numbers));
            for (sample, out) in dx.chunks_exact(work.tokens * width).zip(room.chunks_mut(self.kept * width))
            {
                for (out, &dx) in out.iter_mut().zip(&sample[width..]) {
                    *out = S::narrow(dx);
                }
            }
            let source = Source::new(&room, rows, width, width);
            pack::left(work.level, source, groups, left);
            self.cut(slab * samples, numbers, &mut room[..rows * numbers]);
            let source = Source::new(&room, rows, numbers, numbers);
            interleave::<_, _, COLUMNS>(work.level, source, groups, right);
            buffers.give(room);
        });
        let mut gradient = vec![S::Real::ZERO; width * numbers];
        let of_task = gradient_rows::<S>(&work);
        let tasks = gradient.par_chunks_mut(of_task * numbers).enumerate().with_max_len(1);
        tasks.for_each(|(task, out)| {
            let first = task * of_task;
            let (left, right) =
                (Left::packed(work.level, &left, width, depth), Right::packed(&right, numbers, depth));
            let to = StoreReal { factor: S::Real::ONE, out, stride: numbers };
            let range = first..width.min(first + of_task);
            multiply(work.level, left, range, right, &mut From { first, to });
        });
        buffers.give(left);
        buffers.give(right);
        gradient
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::level::Level;
    use crate::ops::stored::Bf16;
    use crate::params::tensor_specs;
    use crate::test_models::tiny;

    fn patches<'a>(images: Images<'a>, patch: usize, kept: usize, level: Level) -> Patches<'a> {
        let tower = crate::vision::tower(&tiny());
        let samples = images.batch;
        let work = Work { tower, samples, tokens: kept + 1, level, recompute: false };
        Patches::new(work, images, patch, ImagePositions::SinCos2d, false)
    }

    #[test]
    fn patches_are_cut_out_as_a_convolution_kernel_lies() {
        // Two images of 4 x 4, patches of 2 x 2; every pixel says where it is.
        let pixels: Vec<f32> = (0..2 * 3 * 16).map(|index| index as f32).collect();
        let all = Images { batch: 2, image_size_px: 4, pixels: &pixels, kept_patches: None };
        let mut found = vec![0f32; 2 * 4 * 12];
        patches(all, 2, 4, Level::current()).cut(0, 12, &mut found);
        assert_eq!(found[..12], [0., 1., 4., 5., 16., 17., 20., 21., 32., 33., 36., 37.]);
        assert_eq!(found[12..16], [2., 3., 6., 7.], "the second patch is the one to the right");
        assert_eq!(found[24..28], [8., 9., 12., 13.], "the third begins the second row");
        let kept = [0, 3, 1, 2];
        let some = patches(Images { kept_patches: Some(&kept), ..all }, 2, 2, Level::current());
        let mut rows = vec![1f32; 2 * 2 * 13];
        some.cut(0, 13, &mut rows);
        for (row, place) in rows.chunks_exact(13).zip([0, 3, 5, 6]) {
            assert_eq!(row[..12], found[place * 12..][..12]);
            assert_eq!(row[12], 0.0, "zeros in between");
        }
        let mut second = vec![0f32; 2 * 12];
        some.cut(1, 12, &mut second);
        assert_eq!(second[..12], rows[26..38]);
    }

    /// Odd numbers of pixels in a patch and of patches in a slab, which bf16 multiplies in pairs: tokens and the
    /// kernel's gradient in all precisions at every level against sums written out.
    #[test]
    fn odd_patches_are_their_formula() {
        Level::possible().for_each(odd_patches_at);
    }

    fn odd_patches_at(level: Level) {
        let mut architecture = tiny();
        architecture.vision_cfg.patch_size = 3;
        let (batch, kept, numbers, width) = (45, 3, 27, 16);
        let pixels: Vec<f32> = (0..batch * 108).map(|i| (i as f32 * 0.37).sin()).collect();
        let places: Vec<u32> =
            (0..batch as u32).flat_map(|sample| [sample % 4, (sample + 2) % 4, 3]).collect();
        let images = Images { batch, image_size_px: 6, pixels: &pixels, kept_patches: Some(&places) };
        let patches = patches(images, 3, kept, level);
        let mut rows = vec![0f64; batch * kept * numbers];
        patches.cut(0, numbers, &mut rows);
        let specs = tensor_specs(&architecture, 2.5);
        let double = Parameters::initial(&specs, 5, DType::F64).expect("parameters");
        let of =
            |name: &str| with_numbers::<f64, _>(double.get(name).expect(name), <[f64]>::to_vec).expect(name);
        let (kernel, class, table) = (of(KERNEL), of(CLASS), position_table(2, width));
        let dot = |row: usize, column: usize| -> f64 {
            let row = &rows[row * numbers..][..numbers];
            row.iter().zip(&kernel[column * numbers..]).map(|(a, b)| a * b).sum()
        };
        let dx: Vec<f64> = (0..batch * 4 * width).map(|i| (i as f64 * 0.71).cos()).collect();
        fn found<S: Stored>(
            patches: &Patches<'_>,
            parameters: &Parameters,
            dx: &[f64],
        ) -> (Vec<f64>, Vec<f64>) {
            let buffers = Buffers::<S>::default();
            let wide = |numbers: Vec<S::Real>| numbers.into_iter().map(WithDType::to_f64).collect();
            let start = patches.embed::<S>(parameters, &buffers).expect("tokens");
            let dx: Vec<S::Real> = dx.iter().map(|&x| WithDType::from_f64(x)).collect();
            (wide(start.x), wide(patches.kernel_gradient(&buffers, &dx)))
        }
        let single = Parameters::initial(&specs, 5, DType::F32).expect("parameters");
        for (within, (tokens, gradient)) in [
            (1e-6, found::<f64>(&patches, &double, &dx)),
            (1e-5, found::<f32>(&patches, &single, &dx)),
            (2e-2, found::<Bf16>(&patches, &single, &dx)),
        ] {
            for (index, &token) in tokens.iter().enumerate() {
                let (row, column) = (index / width, index % width);
                let (sample, patch) = (row / 4, row % 4);
                let expected = match patch.checked_sub(1) {
                    None => class[column],
                    Some(patch) => {
                        let number = sample * kept + patch;
                        dot(number, column) + table[places[number] as usize * width + column]
                    }
                };
                assert!((token - expected).abs() < within, "token {index}: {token} {expected}");
            }
            for (index, &gradient) in gradient.iter().enumerate() {
                let (column, number) = (index / numbers, index % numbers);
                let expected: f64 = (0..batch * kept)
                    .map(|row| {
                        let token = row / kept * 4 + 1 + row % kept;
                        dx[token * width + column] * rows[row * numbers + number]
                    })
                    .sum();
                let error = (gradient - expected).abs();
                assert!(error < within * 10.0, "gradient {index}: {gradient} {expected}");
            }
        }
    }
}
