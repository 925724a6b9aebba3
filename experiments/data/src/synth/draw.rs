//! Drawing a scene: signed distances give every edge its anti-aliasing.

use rand::Rng;

use super::scene::{Object, Scene, Texture};
use super::words::{Pattern, SHAPES};
use crate::picture::Rgb;
use crate::streams::Stream;

/// Draws a scene as a square of `size_px` pixels a side.
pub(super) fn draw(scene: &Scene, size_px: u32, stream: &mut Stream) -> Rgb {
    let mut pixels = ground(scene, size_px, stream);
    for object in &scene.objects {
        paint(object, scene.ground.rgb, size_px, &mut pixels);
    }
    Rgb { width: size_px, height: size_px, pixels }
}

fn ground(scene: &Scene, size_px: u32, stream: &mut Stream) -> Vec<u8> {
    let base = scene.ground.rgb;
    let count = (size_px * size_px) as usize;
    match scene.texture {
        Texture::Plain => base.map(|value| value as u8).repeat(count),
        Texture::Gradient(angle) => {
            let mut pixels = Vec::with_capacity(count * 3);
            let (sine, cosine) = angle.sin_cos();
            let centre = size_px as f32 / 2.0;
            for y in 0..size_px {
                for x in 0..size_px {
                    // From -1 to 1 across the diagonal; 26 of 255 lighter or darker.
                    let along = (x as f32 + 0.5 - centre) * cosine + (y as f32 + 0.5 - centre) * sine;
                    let shift = 26.0 * along / (centre * std::f32::consts::SQRT_2);
                    pixels.extend(base.map(|value| (value + shift).clamp(0.0, 255.0) as u8));
                }
            }
            pixels
        }
        Texture::Grain(amplitude) => {
            let mut noise = vec![0u8; count];
            stream.fill_bytes(&mut noise);
            let shift = |byte: u8| (f32::from(byte) / 127.5 - 1.0) * amplitude;
            let grains = noise
                .into_iter()
                .flat_map(|byte| base.map(|value| (value + shift(byte)).clamp(0.0, 255.0) as u8));
            grains.collect()
        }
    }
}

fn paint(object: &Object, ground: [f32; 3], size_px: u32, pixels: &mut [u8]) {
    let size = size_px as f32;
    let radius = object.radius * size;
    let [centre_x, centre_y] = object.centre.map(|value| value * size);
    let (sine, cosine) = object.angle.sin_cos();
    let distance = shape(object.shape);
    let filling = Filling::new(object, radius);
    // Between the marks of a pattern the ground shines through, but not so much that the outline is lost.
    let gap: [f32; 3] = std::array::from_fn(|channel| 0.4 * object.rgb[channel] + 0.6 * ground[channel]);
    let range = |centre: f32| {
        let reach = radius + 1.0;
        ((centre - reach).max(0.0) as u32, ((centre + reach).ceil().max(0.0) as u32).min(size_px))
    };
    let ((left, right), (top, bottom)) = (range(centre_x), range(centre_y));
    for y in top..bottom {
        let down = (y as f32 + 0.5 - centre_y) / radius;
        let row = (y * size_px) as usize * 3;
        for x in left..right {
            let across = (x as f32 + 0.5 - centre_x) / radius;
            // Shapes are defined upright with y upwards.
            let (u, v) = (across * cosine + down * sine, across * sine - down * cosine);
            let cover = (0.5 - distance(u, v) * radius).clamp(0.0, 1.0);
            if cover == 0.0 {
                continue;
            }
            let mark = filling.at(u, v);
            let pixel = &mut pixels[row + x as usize * 3..][..3];
            for channel in 0..3 {
                let colour = gap[channel] + (object.rgb[channel] - gap[channel]) * mark;
                let below = f32::from(pixel[channel]);
                pixel[channel] = (below + (colour - below) * cover + 0.5) as u8;
            }
        }
    }
}

/// How much of the object's own colour a point of it has.
struct Filling {
    pattern: Pattern,
    direction: (f32, f32),
    /// Length of one repetition, in radii.
    period: f32,
    /// Pixels in a radius.
    radius: f32,
}

impl Filling {
    fn new(object: &Object, radius: f32) -> Self {
        let (sine, cosine) = object.stripes.sin_cos();
        // Marks of less than two pixels would only look paler.
        let period = 0.5f32.max(4.0 / radius);
        Self { pattern: object.pattern, direction: (cosine, sine), period, radius }
    }

    fn at(&self, u: f32, v: f32) -> f32 {
        // Distance in pixels to an edge that is `distance` radii away, as coverage.
        let edge = |distance: f32| (0.5 + distance * self.radius).clamp(0.0, 1.0);
        let phase = |value: f32| {
            let turns = value / self.period;
            turns - turns.floor()
        };
        // Distance to the nearer end of a half-period: positive in its first half.
        let half = |value: f32| {
            let phase = phase(value);
            (if phase < 0.5 { phase.min(0.5 - phase) } else { -(phase - 0.5).min(1.0 - phase) }) * self.period
        };
        match self.pattern {
            Pattern::Solid => 1.0,
            Pattern::Striped => edge(half(u * self.direction.0 + v * self.direction.1)),
            Pattern::Dotted => {
                let (x, y) = ((phase(u) - 0.5) * self.period, (phase(v) - 0.5) * self.period);
                edge(x.hypot(y) - 0.32 * self.period)
            }
            Pattern::Checkered => {
                let (x, y) = (half(u), half(v));
                edge(x.abs().min(y.abs()) * (x * y).signum())
            }
        }
    }
}

/// Signed distance (in radii, negative inside) to a shape that fits the unit circle, x to the right, y up.
type Distance = fn(f32, f32) -> f32;

fn shape(index: usize) -> Distance {
    match SHAPES[index] {
        "circle" => |x, y| x.hypot(y) - 0.88,
        "square" => |x, y| x.abs().max(y.abs()) - 0.74,
        // Half-planes at the inradius; the triangle stands on its base.
        "triangle" => |x, y| (0.866 * x.abs() + 0.5 * (y + 0.15)).max(-(y + 0.15)) - 0.46,
        "diamond" => |x, y| 0.857 * x.abs() + 0.515 * y.abs() - 0.515,
        "hexagon" => |x, y| (0.866 * y.abs() + 0.5 * x.abs()).max(x.abs()) - 0.8,
        "star" => star,
        "heart" => heart,
        "cross" => |x, y| {
            let (x, y) = (x.abs(), y.abs());
            (x.max(y) - 0.9).max(x.min(y) - 0.28)
        },
        // A disc from which another is cut.
        "moon" => |x, y| ((x - 0.15).hypot(y) - 0.95).max(0.8 - (x - 0.6).hypot(y)),
        "ring" => |x, y| (x.hypot(y) - 0.7).abs() - 0.2,
        "arrow" => arrow,
        // The usual approximation of the distance to an ellipse, exact on it.
        _ => |x, y| {
            let (wide, high) = (0.95, 0.55);
            let scaled = (x / wide).hypot(y / high);
            let slope = (x / (wide * wide)).hypot(y / (high * high));
            if slope == 0.0 { -high } else { scaled * (scaled - 1.0) / slope }
        },
    }
}

/// Five points; the inner corners at 0.45 of the outer.
fn star(x: f32, y: f32) -> f32 {
    let (cos36, sin36) = (0.809_017, 0.587_785);
    // Folds the plane onto half a point.
    let mut x = x.abs();
    let mut y = y;
    let overlap = (cos36 * x - sin36 * y).max(0.0);
    (x, y) = (x - 2.0 * overlap * cos36, y + 2.0 * overlap * sin36);
    let overlap = (-cos36 * x - sin36 * y).max(0.0);
    (x, y) = (x + 2.0 * overlap * cos36, y + 2.0 * overlap * sin36);
    x = x.abs();
    y -= 0.98;
    let (edge_x, edge_y) = (0.45 * sin36, 0.45 * cos36 - 1.0);
    let along = ((x * edge_x + y * edge_y) / (edge_x * edge_x + edge_y * edge_y)).clamp(0.0, 0.98);
    let (off_x, off_y) = (x - edge_x * along, y - edge_y * along);
    off_x.hypot(off_y).copysign(y * edge_x - x * edge_y)
}

/// Two arcs and two straight lines meeting at the tip.
fn heart(x: f32, y: f32) -> f32 {
    let scale = 1.55;
    let (x, y) = (x.abs() / scale, y / scale + 0.56);
    let distance = if x + y > 1.0 {
        (x - 0.25).hypot(y - 0.75) - std::f32::consts::SQRT_2 / 4.0
    } else {
        let middle = 0.5 * (x + y).max(0.0);
        x.hypot(y - 1.0).min((x - middle).hypot(y - middle)).copysign(x - y)
    };
    distance * scale
}

/// Pointing up: a head over a shaft.
fn arrow(x: f32, y: f32) -> f32 {
    let x = x.abs();
    let shaft = (x - 0.2).max((y + 0.325).abs() - 0.575);
    let head = (0.755 * x + 0.656 * (y - 0.95)).max(0.05 - y);
    shaft.min(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Area in units of the radius squared, on a fine grid.
    fn area(index: usize) -> f32 {
        let distance = shape(index);
        let steps = 200;
        let inside = (0..steps * steps).filter(|n| {
            let at = |k: i32| (k as f32 + 0.5) / steps as f32 * 2.2 - 1.1;
            distance(at(n % steps), at(n / steps)) < 0.0
        });
        inside.count() as f32 * (2.2 / steps as f32).powi(2)
    }

    #[test]
    fn every_shape_fits_its_circle_and_is_large_enough_to_see() {
        for (index, name) in SHAPES.iter().enumerate() {
            let distance = shape(index);
            for step in 0..360 {
                let (sine, cosine) = (step as f32).to_radians().sin_cos();
                assert!(distance(1.08 * cosine, 1.08 * sine) > 0.0, "{name} reaches out at {step} degrees");
            }
            let area = area(index);
            assert!((0.8..2.7).contains(&area), "{name}: {area}");
        }
    }

    #[test]
    fn distances_change_as_fast_as_the_point_moves() {
        // Near an edge the slope is 1, else edges would be blurred or ragged.
        for (index, name) in SHAPES.iter().enumerate() {
            let distance = shape(index);
            let (mut near, mut good) = (0, 0);
            for n in 0..40_000 {
                let (x, y) = ((n % 200) as f32 / 100.0 - 0.995, (n / 200) as f32 / 100.0 - 0.995);
                if distance(x, y).abs() < 0.03 {
                    let step = 1e-3;
                    let slope_x = (distance(x + step, y) - distance(x - step, y)) / (2.0 * step);
                    let slope_y = (distance(x, y + step) - distance(x, y - step)) / (2.0 * step);
                    near += 1;
                    good += i32::from((slope_x.hypot(slope_y) - 1.0).abs() < 0.1);
                }
            }
            assert!(f64::from(good) > 0.9 * f64::from(near), "{name}: {good} of {near}");
        }
    }
}
