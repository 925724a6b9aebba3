//! A picture in words. Colour and shape are always said; size, pattern, place and ground sometimes.

use super::scene::{Layout, Object, Scene, Size};
use super::words::{COLOURS, Pattern, SHAPES};
use crate::streams::Stream;

/// How a caption may begin before a thing with its article.
const WITH_ARTICLE: [&str; 6] =
    ["", "a picture of ", "a drawing of ", "an image of ", "this is ", "there is "];

/// One of many captions that are true of the picture.
pub(super) fn describe(scene: &Scene, stream: &mut Stream) -> String {
    let mut caption = match (scene.layout, scene.objects.as_slice()) {
        (layout @ (Layout::SideBySide | Layout::Stacked), [first, second]) => {
            two(layout, first, second, stream)
        }
        (_, objects) => one(&objects[0], stream),
    };
    if stream.chance(0.25) {
        caption.push_str(" on ");
        caption.push_str(&with_article(scene.ground.name));
        caption.push_str(" background");
    }
    caption
}

fn one(object: &Object, stream: &mut Stream) -> String {
    let thing = thing(object, stream);
    let mut caption = match stream.below(8) {
        0 => thing,
        1 => format!("one {thing}"),
        start => format!("{}{}", WITH_ARTICLE[start as usize - 2], with_article(&thing)),
    };
    if stream.chance(0.35) {
        caption.push(' ');
        caption.push_str(place(object.centre));
    }
    caption
}

fn two(layout: Layout, first: &Object, second: &Object, stream: &mut Stream) -> String {
    let (one, other) = (with_article(&thing(first, stream)), with_article(&thing(second, stream)));
    let start = WITH_ARTICLE[stream.below(4) as usize];
    let pick = stream.below(3);
    let (left, relation, right) = match (layout, pick) {
        (_, 0) => (one, "and", other),
        (Layout::Stacked, 1) => (one, "above", other),
        (Layout::Stacked, _) => (other, "below", one),
        (_, 1) => (one, "to the left of", other),
        (_, _) => (other, "to the right of", one),
    };
    format!("{start}{left} {relation} {right}")
}

/// `large striped red star`.
fn thing(object: &Object, stream: &mut Stream) -> String {
    let mut words: Vec<&str> = Vec::with_capacity(4);
    if stream.chance(0.4) {
        match object.size {
            Size::Small => words.push(if stream.chance(0.5) { "small" } else { "little" }),
            Size::Large => words.push(if stream.chance(0.5) { "large" } else { "big" }),
            Size::Medium => {}
        }
    }
    // A pattern is usually said, a plain filling seldom.
    let said = if object.pattern == Pattern::Solid { 0.1 } else { 0.7 };
    if stream.chance(said) {
        words.push(object.pattern.name());
    }
    words.push(COLOURS[object.colour].name);
    words.push(SHAPES[object.shape]);
    words.join(" ")
}

fn with_article(thing: &str) -> String {
    let article = if thing.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {thing}")
}

/// Where a centre lies, by thirds of the range that centres have.
fn place(centre: [f32; 2]) -> &'static str {
    let third = |value: f32| match value {
        value if value < 0.42 => 0,
        value if value > 0.58 => 2,
        _ => 1,
    };
    const PLACES: [[&str; 3]; 3] = [
        ["in the upper left", "at the top", "in the upper right"],
        ["on the left", "in the center", "on the right"],
        ["in the lower left", "at the bottom", "in the lower right"],
    ];
    PLACES[third(centre[1])][third(centre[0])]
}
