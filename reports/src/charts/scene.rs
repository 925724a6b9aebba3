//! What is on a chart: lines, areas and text at positions in pixels, before anything is rendered.

use super::text;

/// A point in pixels, from the upper left corner.
pub(super) type Point = (f64, f64);

/// Red, green, blue and opacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Color(pub(super) u8, pub(super) u8, pub(super) u8, pub(super) f64);

impl Color {
    // Okabe and Ito's palette, which people with any colour vision can tell apart; without its yellow, which is
    // too faint on white.
    pub(super) const BLUE: Self = Self(0, 114, 178, 1.0);
    pub(super) const VERMILLION: Self = Self(213, 94, 0, 1.0);
    pub(super) const GREEN: Self = Self(0, 158, 115, 1.0);
    pub(super) const PURPLE: Self = Self(204, 121, 167, 1.0);
    pub(super) const ORANGE: Self = Self(230, 159, 0, 1.0);
    pub(super) const SKY: Self = Self(86, 180, 233, 1.0);
    pub(super) const INK: Self = Self(30, 30, 30, 1.0);
    pub(super) const GREY: Self = Self(95, 95, 95, 1.0);
    pub(super) const GRID: Self = Self(226, 226, 226, 1.0);
    pub(super) const FAINT: Self = Self(240, 240, 240, 1.0);
    pub(super) const WHITE: Self = Self(255, 255, 255, 1.0);

    pub(super) const fn faded(self, opacity: f64) -> Self {
        Self(self.0, self.1, self.2, opacity)
    }

    /// The colour of series number `index`; six, then again from the first.
    pub(super) fn series(index: usize) -> Self {
        [Self::BLUE, Self::VERMILLION, Self::GREEN, Self::PURPLE, Self::ORANGE, Self::SKY][index % 6]
    }
}

/// How a line is broken, in pixels of ink and gap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Dash {
    Solid,
    Dashed,
    Dotted,
}

/// The form of a data point's mark, so that colour is never the only difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
}

impl Shape {
    /// The shape of series number `index`.
    pub(super) fn series(index: usize) -> Self {
        [Self::Circle, Self::Square, Self::Triangle, Self::Diamond][index % 4]
    }
}

/// To which side of its position a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Left,
    Middle,
    Right,
}

/// One thing to draw.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Line { points: Vec<Point>, color: Color, width: f64, dash: Dash },
    Area { points: Vec<Point>, color: Color },
    Disc { center: Point, radius: f64, color: Color },
    Text { x: f64, baseline: f64, anchor: Anchor, em: f64, bold: bool, color: Color, text: String },
}

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Rect {
    pub(super) fn around((x, y): Point, radius: f64) -> Self {
        Self { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
    }

    pub(super) fn grown(self, by: f64) -> Self {
        Self { left: self.left - by, top: self.top - by, right: self.right + by, bottom: self.bottom + by }
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    pub(super) fn contains(&self, other: &Self) -> bool {
        self.left <= other.left
            && self.top <= other.top
            && self.right >= other.right
            && self.bottom >= other.bottom
    }

    /// The part of the straight line between two points that lies in the rectangle (Liang and Barsky's
    /// algorithm).
    pub(super) fn clip(&self, from: Point, to: Point) -> Option<(Point, Point)> {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let (mut enter, mut leave) = (0.0f64, 1.0f64);
        for (direction, room) in [
            (-dx, from.0 - self.left),
            (dx, self.right - from.0),
            (-dy, from.1 - self.top),
            (dy, self.bottom - from.1),
        ] {
            if direction == 0.0 {
                if room < 0.0 {
                    return None;
                }
            } else if direction < 0.0 {
                enter = enter.max(room / direction);
            } else {
                leave = leave.min(room / direction);
            }
        }
        let at = |share: f64| (from.0 + share * dx, from.1 + share * dy);
        let start = if enter > 0.0 { at(enter) } else { from };
        let end = if leave < 1.0 { at(leave) } else { to };
        (enter <= leave).then_some((start, end))
    }
}

/// A drawing of fixed size.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scene {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) items: Vec<Item>,
}

impl Scene {
    pub(super) fn new(width: u32, height: u32) -> Self {
        Self { width, height, items: Vec::new() }
    }

    pub(super) fn line(&mut self, points: Vec<Point>, color: Color, width: f64, dash: Dash) {
        if points.len() > 1 {
            self.items.push(Item::Line { points, color, width, dash });
        }
    }

    pub(super) fn area(&mut self, points: Vec<Point>, color: Color) {
        if points.len() > 2 {
            self.items.push(Item::Area { points, color });
        }
    }

    pub(super) fn rect(&mut self, rect: Rect, color: Color) {
        let Rect { left, top, right, bottom } = rect;
        self.area(vec![(left, top), (right, top), (right, bottom), (left, bottom)], color);
    }

    /// A data point's mark with a white rim, which keeps marks apart where they touch.
    pub(super) fn mark(&mut self, center: Point, shape: Shape, radius: f64, color: Color) {
        for (radius, color) in [(radius + 1.5, Color::WHITE), (radius, color)] {
            let (x, y) = center;
            let r = radius;
            match shape {
                Shape::Circle => self.items.push(Item::Disc { center, radius, color }),
                Shape::Square => self.rect(Rect::around(center, r * 0.9), color),
                Shape::Triangle => {
                    let (w, up, down) = (r * 1.15, r * 1.2, r * 0.8);
                    self.area(vec![(x, y - up), (x + w, y + down), (x - w, y + down)], color);
                }
                Shape::Diamond => {
                    let r = r * 1.25;
                    self.area(vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)], color);
                }
            }
        }
    }

    /// A line of text on a baseline.
    pub(super) fn text(&mut self, x: f64, baseline: f64, anchor: Anchor, style: TextStyle, text: &str) {
        let TextStyle { em, bold, color } = style;
        if !text.is_empty() {
            // The embedded face has no minus sign; its en dash looks the same.
            let text = text.replace('\u{2212}', "\u{2013}");
            self.items.push(Item::Text { x, baseline, anchor, em, bold, color, text });
        }
    }

    /// The boxes of all texts, for the checks that none of them overlap.
    #[cfg(test)]
    pub(super) fn text_boxes(&self) -> Vec<(Rect, String)> {
        self.items
            .iter()
            .filter_map(|item| match item {
                Item::Text { x, baseline, anchor, em, bold, text, .. } => {
                    Some((text_box(*x, *baseline, *anchor, *em, *bold, text), text.clone()))
                }
                _ => None,
            })
            .collect()
    }
}

/// How a text looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TextStyle {
    pub(super) em: f64,
    pub(super) bold: bool,
    pub(super) color: Color,
}

/// The box that a line of text takes up, from the height of capitals to the depth of descenders.
pub(super) fn text_box(x: f64, baseline: f64, anchor: Anchor, em: f64, bold: bool, text: &str) -> Rect {
    box_of_width(x, baseline, anchor, em, text::width(text, em, bold))
}

/// The same for a text whose width is known.
pub(super) fn box_of_width(x: f64, baseline: f64, anchor: Anchor, em: f64, width: f64) -> Rect {
    let left = match anchor {
        Anchor::Left => x,
        Anchor::Middle => x - width / 2.0,
        Anchor::Right => x - width,
    };
    Rect { left, top: baseline - 0.74 * em, right: left + width, bottom: baseline + 0.2 * em }
}
