//! What there is to draw, and the words for it.

/// A colour of objects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colour {
    /// Its name in captions.
    pub name: &'static str,
    /// Red, green, blue; drawn with some variation.
    pub rgb: [f32; 3],
}

const fn colour(name: &'static str, red: u8, green: u8, blue: u8) -> Colour {
    Colour { name, rgb: [red as f32, green as f32, blue as f32] }
}

/// Colours of objects.
pub const COLOURS: [Colour; 12] = [
    colour("red", 214, 38, 40),
    colour("orange", 245, 138, 24),
    colour("yellow", 250, 222, 45),
    colour("green", 44, 160, 60),
    colour("cyan", 40, 200, 210),
    colour("blue", 40, 80, 210),
    colour("purple", 130, 55, 180),
    colour("pink", 250, 130, 185),
    colour("brown", 122, 72, 38),
    colour("black", 22, 22, 24),
    colour("white", 247, 247, 247),
    colour("gray", 128, 130, 132),
];

/// Shapes of objects.
pub const SHAPES: [&str; 12] = [
    "circle", "square", "triangle", "diamond", "hexagon", "star", "heart", "cross", "moon", "ring", "arrow",
    "oval",
];

/// Grounds on which objects lie: paler or darker than any object, so that their names say so.
pub(super) const GROUNDS: [Colour; 9] = [
    colour("white", 252, 252, 252),
    colour("black", 10, 10, 12),
    colour("gray", 165, 166, 168),
    colour("beige", 232, 218, 190),
    colour("pale blue", 178, 208, 240),
    colour("pale green", 184, 226, 184),
    colour("pale pink", 246, 208, 216),
    colour("dark blue", 22, 32, 84),
    colour("dark green", 16, 62, 34),
];

/// How an object is filled; `solid` goes unmentioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Solid,
    Striped,
    Dotted,
    Checkered,
}

impl Pattern {
    pub(super) const ALL: [Self; 4] = [Self::Solid, Self::Striped, Self::Dotted, Self::Checkered];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Solid => "solid",
            Self::Striped => "striped",
            Self::Dotted => "dotted",
            Self::Checkered => "checkered",
        }
    }
}

/// The (colour, shape) pairs that training never contains, as indices into [`COLOURS`] and [`SHAPES`]: two of
/// each colour and two of each shape, the same for every seed.
pub const HELD_OUT: [(usize, usize); 24] = {
    let mut pairs = [(0, 0); 24];
    let mut colour = 0;
    while colour < 12 {
        pairs[2 * colour] = (colour, (colour + 2) % 12);
        pairs[2 * colour + 1] = (colour, (colour + 7) % 12);
        colour += 1;
    }
    pairs
};

/// Whether a (colour, shape) pair is kept out of training.
#[must_use]
pub fn is_held_out(colour: usize, shape: usize) -> bool {
    HELD_OUT.contains(&(colour, shape))
}

/// Names of the held-out classes, in the order of their labels: `red triangle`.
#[must_use]
pub fn class_names() -> Vec<String> {
    HELD_OUT.iter().map(|&(colour, shape)| format!("{} {}", COLOURS[colour].name, SHAPES[shape])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn two_of_each_colour_and_of_each_shape_are_held_out() {
        let names: HashSet<String> = class_names().into_iter().collect();
        assert_eq!(names.len(), 24);
        assert!(names.contains("red triangle"));
        for number in 0..12 {
            assert_eq!(HELD_OUT.iter().filter(|pair| pair.0 == number).count(), 2);
            assert_eq!(HELD_OUT.iter().filter(|pair| pair.1 == number).count(), 2);
        }
    }
}
