//! What a picture shows, before it is drawn or described. Lengths are fractions of the picture's side.

use super::words::{COLOURS, Colour, GROUNDS, Pattern, SHAPES, is_held_out};
use crate::streams::Stream;

/// Two objects in this fraction of the training pictures.
const TWO_OBJECTS: f64 = 0.25;
/// An object is drawn on a ground at least this far off (sum over red, green, blue, of 765).
const LEAST_CONTRAST: f32 = 150.0;

/// A picture.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) ground: &'static Colour,
    pub(super) texture: Texture,
    /// One or two.
    pub(super) objects: Vec<Object>,
    pub(super) layout: Layout,
}

/// How objects lie to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One object.
    Alone,
    /// The first left of the second.
    SideBySide,
    /// The first above the second.
    Stacked,
}

/// Surface of the ground.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Texture {
    Plain,
    /// Lighter to darker along (cos, sin) of an angle.
    Gradient(f32),
    /// Noise of this amplitude.
    Grain(f32),
}

/// How large an object is drawn and called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Medium,
    Large,
}

/// One object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) colour: usize,
    pub(super) shape: usize,
    pub(super) pattern: Pattern,
    pub(super) size: Size,
    /// Red, green, blue, varied.
    pub(super) rgb: [f32; 3],
    /// Centre, x to the right, y down.
    pub(super) centre: [f32; 2],
    pub(super) radius: f32,
    /// Rotation in radians: little, so that a square is no diamond.
    pub(super) angle: f32,
    /// Direction of the stripes in radians.
    pub(super) stripes: f32,
}

/// A picture of one or two objects that are not held out.
pub(super) fn training_scene(stream: &mut Stream) -> Scene {
    if stream.chance(TWO_OBJECTS) {
        let (first, second) = (training_class(stream), training_class(stream));
        two_objects(first, second, stream)
    } else {
        let class = training_class(stream);
        one_object(class, stream)
    }
}

/// A picture of one object of this class.
pub(super) fn evaluation_scene(class: (usize, usize), stream: &mut Stream) -> Scene {
    one_object(class, stream)
}

fn training_class(stream: &mut Stream) -> (usize, usize) {
    // Five of six pairs are for training, so this ends after 1.2 tries on average.
    loop {
        let colour = stream.below(COLOURS.len() as u32) as usize;
        let shape = stream.below(SHAPES.len() as u32) as usize;
        if !is_held_out(colour, shape) {
            return (colour, shape);
        }
    }
}

fn one_object(class: (usize, usize), stream: &mut Stream) -> Scene {
    let (size, low, high) = match stream.below(3) {
        0 => (Size::Small, 0.17, 0.21),
        1 => (Size::Medium, 0.25, 0.31),
        _ => (Size::Large, 0.36, 0.45),
    };
    let radius = stream.between(low, high);
    let mut place = || stream.between(radius, 1.0 - radius);
    let centre = [place(), place()];
    let objects = vec![object(class, size, centre, radius, stream)];
    ground_for(objects, Layout::Alone, stream)
}

fn two_objects(first: (usize, usize), second: (usize, usize), stream: &mut Stream) -> Scene {
    let layout = if stream.chance(0.5) { Layout::SideBySide } else { Layout::Stacked };
    let mut objects = Vec::with_capacity(2);
    for (class, along) in [(first, 0.26), (second, 0.74)] {
        let (size, radius) = if stream.chance(0.5) { (Size::Small, 0.16) } else { (Size::Medium, 0.225) };
        let along = along + stream.between(-0.02, 0.02);
        let across = stream.between(0.3, 0.7);
        let centre = if layout == Layout::SideBySide { [along, across] } else { [across, along] };
        objects.push(object(class, size, centre, radius, stream));
    }
    ground_for(objects, layout, stream)
}

fn object(class: (usize, usize), size: Size, centre: [f32; 2], radius: f32, stream: &mut Stream) -> Object {
    let (colour, shape) = class;
    // Half of all objects are solid.
    let pattern =
        if stream.chance(0.5) { Pattern::Solid } else { Pattern::ALL[1 + stream.below(3) as usize] };
    // One shift for all channels (light), a smaller one for each (hue).
    let light = stream.between(-14.0, 14.0);
    let rgb = COLOURS[colour].rgb.map(|value| (value + light + stream.between(-8.0, 8.0)).clamp(0.0, 255.0));
    let (angle, stripes) = (stream.between(-0.2, 0.2), stream.between(0.0, std::f32::consts::PI));
    Object { colour, shape, pattern, size, rgb, centre, radius, angle, stripes }
}

fn ground_for(objects: Vec<Object>, layout: Layout, stream: &mut Stream) -> Scene {
    let contrast = |ground: &Colour| {
        let distance = |object: &Object| -> f32 {
            COLOURS[object.colour].rgb.iter().zip(ground.rgb).map(|(a, b)| (a - b).abs()).sum()
        };
        objects.iter().map(distance).fold(f32::INFINITY, f32::min)
    };
    let suitable: Vec<&'static Colour> =
        GROUNDS.iter().filter(|ground| contrast(ground) >= LEAST_CONTRAST).collect();
    let ground = match suitable.len() {
        // Some pairs of colours leave no ground that suits both: then the one that suits best.
        0 => GROUNDS.iter().max_by(|a, b| contrast(a).total_cmp(&contrast(b))).unwrap_or(&GROUNDS[0]),
        count => suitable[stream.below(count as u32) as usize],
    };
    let texture = match stream.below(3) {
        0 => Texture::Plain,
        1 => Texture::Gradient(stream.between(0.0, std::f32::consts::TAU)),
        _ => Texture::Grain(stream.between(6.0, 18.0)),
    };
    Scene { ground, texture, objects, layout }
}
