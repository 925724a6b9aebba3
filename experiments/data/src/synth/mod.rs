//! The procedural image-caption generator: coloured, patterned shapes on coloured grounds, with captions in
//! words that a person would use. Everything runs on it with nothing downloaded.
//!
//! A class is a (colour, shape) pair, `red triangle`. [`class_names`] lists the pairs that are held out: each
//! colour and each shape occurs in training, but a held-out pair never does, neither in a picture nor in a
//! caption. Naming the held-out classes right is zero-shot recognition.
//!
//! A pair is a function of (seed, index) alone.

mod caption;
mod draw;
mod scene;
mod words;

use self::scene::{Scene, evaluation_scene, training_scene};
pub use self::words::{COLOURS, HELD_OUT, SHAPES, class_names, is_held_out};
use crate::error::DataError;
use crate::picture::Rgb;
use crate::streams::{SYNTH, SYNTH_EVALUATION, Stream};

/// Smallest side of a drawn picture in pixels: below it, shapes cannot be told apart.
pub const SMALLEST_PX: u32 = 8;
/// Largest side of a drawn picture in pixels.
pub const LARGEST_PX: u32 = 1024;

/// Prompts for the class names, worded as training captions are.
pub const TEMPLATES: [&str; 5] = ["{c}", "one {c}", "a {c}", "a picture of a {c}", "a drawing of a {c}"];

/// A training pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The picture.
    pub picture: Rgb,
    /// The caption.
    pub caption: String,
    /// (colour, shape) of each object in it, as indices into [`COLOURS`] and [`SHAPES`].
    pub objects: Vec<(usize, usize)>,
}

/// An evaluation picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// The picture.
    pub picture: Rgb,
    /// A caption of it.
    pub caption: String,
    /// Index into [`class_names`].
    pub label: u32,
}

/// The generator.
#[derive(Clone, Debug)]
pub struct Synth {
    seed: u64,
    size_px: u32,
}

impl Synth {
    /// A generator of pictures of `image_size_px` pixels a side.
    pub fn new(seed: u64, image_size_px: u32) -> Result<Self, DataError> {
        if !(SMALLEST_PX..=LARGEST_PX).contains(&image_size_px) {
            return Err(DataError::Value {
                field: "image_size_px",
                value: image_size_px.to_string(),
                problem: "the generator cannot draw at this size".to_owned(),
                hint: format!("use {SMALLEST_PX} to {LARGEST_PX}"),
            });
        }
        Ok(Self { seed, size_px: image_size_px })
    }

    /// Training pair `index`.
    #[must_use]
    pub fn pair(&self, index: u64) -> Pair {
        let mut stream = Stream::new(self.seed, SYNTH, index);
        let scene = training_scene(&mut stream);
        let caption = caption::describe(&scene, &mut stream);
        let objects = scene.objects.iter().map(|object| (object.colour, object.shape)).collect();
        Pair { picture: self.draw(&scene, &mut stream), caption, objects }
    }

    /// Evaluation picture `index`: one object of held-out class `index` modulo their number.
    #[must_use]
    pub fn labelled(&self, index: u64) -> Labelled {
        let mut stream = Stream::new(self.seed, SYNTH_EVALUATION, index);
        let label = (index % HELD_OUT.len() as u64) as u32;
        let scene = evaluation_scene(HELD_OUT[label as usize], &mut stream);
        let caption = caption::describe(&scene, &mut stream);
        Labelled { picture: self.draw(&scene, &mut stream), caption, label }
    }

    fn draw(&self, scene: &Scene, stream: &mut Stream) -> Rgb {
        draw::draw(scene, self.size_px, stream)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn training_never_shows_or_names_a_held_out_pair() {
        let synth = Synth::new(11, 8).unwrap();
        let classes = class_names();
        let mut seen = HashSet::new();
        for index in 0..6_000 {
            let pair = synth.pair(index);
            for &(colour, shape) in &pair.objects {
                assert!(!is_held_out(colour, shape), "{index}: {}", pair.caption);
                seen.insert((colour, shape));
            }
            let named = classes.iter().find(|class| pair.caption.contains(class.as_str()));
            assert_eq!(named, None, "{index}: {}", pair.caption);
        }
        let all = COLOURS.len() * SHAPES.len();
        assert_eq!(seen.len(), all - HELD_OUT.len(), "every other pair occurs");
        for (number, colour) in COLOURS.iter().enumerate() {
            assert!(seen.iter().any(|pair| pair.0 == number), "{}", colour.name);
        }
    }

    #[test]
    fn evaluation_shows_every_held_out_class_equally_often() {
        let synth = Synth::new(11, 8).unwrap();
        let names = class_names();
        let mut counts = vec![0; names.len()];
        for index in 0..240 {
            let labelled = synth.labelled(index);
            assert!(labelled.caption.contains(&names[labelled.label as usize]), "{}", labelled.caption);
            counts[labelled.label as usize] += 1;
        }
        assert!(counts.iter().all(|&count| count == 10), "{counts:?}");
    }

    #[test]
    fn pairs_depend_on_seed_and_index_alone() {
        let synth = Synth::new(5, 32).unwrap();
        let pair = synth.pair(77);
        let _ = synth.pair(3);
        assert_eq!(pair, synth.pair(77));
        assert_ne!(pair, synth.pair(78));
        assert_ne!(pair, Synth::new(6, 32).unwrap().pair(77));
        let larger = Synth::new(5, 64).unwrap().pair(77);
        assert_eq!(pair.caption, larger.caption, "the size changes the drawing only");
    }

    #[test]
    fn captions_and_pictures_vary() {
        let synth = Synth::new(5, 16).unwrap();
        let (mut captions, mut pictures) = (HashSet::new(), HashSet::new());
        for index in 0..2_000 {
            let pair = synth.pair(index);
            captions.insert(pair.caption);
            pictures.insert(pair.picture.pixels);
        }
        assert!(captions.len() > 1_500, "{} different captions", captions.len());
        assert_eq!(pictures.len(), 2_000);
    }

    #[test]
    fn objects_are_seen_against_the_ground() {
        // A picture in which an object vanished would have next to no contrast.
        let synth = Synth::new(9, 48).unwrap();
        for index in 0..300 {
            let labelled = synth.labelled(index);
            let grey: Vec<f32> = labelled
                .picture
                .pixels
                .chunks_exact(3)
                .map(|pixel| pixel.iter().map(|&value| f32::from(value)).sum::<f32>())
                .collect();
            let corner = grey[0];
            let far = labelled.picture.pixels.chunks_exact(3).filter(|pixel| {
                let ground = &labelled.picture.pixels[..3];
                pixel.iter().zip(ground).map(|(a, b)| u32::from(a.abs_diff(*b))).sum::<u32>() > 90
            });
            let count = far.count();
            assert!(count > 20, "{index}: {} ({count} pixels differ from {corner})", labelled.caption);
        }
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        for size in [0, 7, 1025, u32::MAX] {
            let error = Synth::new(0, size).unwrap_err();
            assert!(error.to_string().contains(&format!("image_size_px = {size}")), "{error}");
            assert!(error.hint().is_some());
        }
    }
}
