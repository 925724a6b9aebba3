//! A scene as SVG and as PNG, drawn by plotters.

use image::codecs::png::PngEncoder;
use image::{DynamicImage, RgbImage};
use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, RGBAColor, ShapeStyle, WHITE};

use super::scene::{Anchor, Color, Dash, Item, Point, Scene, text_box};
use super::text::{self, Target};

/// plotters' coordinates are whole numbers: drawing larger and scaling in the viewer keeps quarter pixels.
const SVG_SCALE: u32 = 4;

/// plotters' polygons have no soft edges: the picture is drawn larger and averaged down.
const RASTER_SCALE: u32 = 3;

/// The scene as an SVG document. `title` is read out where the picture cannot be seen.
pub(super) fn svg(scene: &Scene, title: &str) -> Result<String, String> {
    text::register()?;
    let mut buffer = String::new();
    {
        let size = (scene.width * SVG_SCALE, scene.height * SVG_SCALE);
        let area = SVGBackend::with_string(&mut buffer, size).into_drawing_area();
        area.fill(&WHITE).map_err(|error| error.to_string())?;
        paint(&area, scene, SVG_SCALE, Target::Svg)?;
        area.present().map_err(|error| error.to_string())?;
    }
    // plotters' own first line gives the enlarged size; the size in pixels is what viewers should see.
    let body = with_text_lengths(buffer.split_once('\n').map_or("", |(_, body)| body), scene);
    let (width, height) = (scene.width, scene.height);
    let (view_width, view_height) = (width * SVG_SCALE, height * SVG_SCALE);
    Ok(format!(
        "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {view_width} {view_height}\" \
         xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" stroke-linejoin=\"round\">\n\
         <title>{}</title>\n{body}",
        escaped(title)
    ))
}

/// Gives every text the width that it was laid out with, so that a viewer with another face keeps to it. plotters
/// writes the texts in the scene's order.
fn with_text_lengths(body: &str, scene: &Scene) -> String {
    const TEXT: &str = "<text ";
    let mut widths = scene.items.iter().filter_map(|item| match item {
        Item::Text { em, bold, text, .. } => Some(text::width(text, *em, *bold)),
        _ => None,
    });
    let mut parts = body.split(TEXT);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(TEXT);
        if let Some(width) = widths.next() {
            let length = (width * f64::from(SVG_SCALE)).round();
            out.push_str(&format!("textLength=\"{length}\" lengthAdjust=\"spacingAndGlyphs\" "));
        }
        out.push_str(part);
    }
    out
}

/// The scene as a PNG of one pixel a unit.
pub(super) fn png(scene: &Scene) -> Result<Vec<u8>, String> {
    text::register()?;
    let (width, height) = (scene.width * RASTER_SCALE, scene.height * RASTER_SCALE);
    let mut pixels = vec![255u8; width as usize * height as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        paint(&area, scene, RASTER_SCALE, Target::Raster)?;
        area.present().map_err(|error| error.to_string())?;
    }
    let enlarged = RgbImage::from_raw(width, height, pixels).ok_or("the picture has another size")?;
    // `thumbnail_exact` takes the mean of each square of pixels.
    let averaged = DynamicImage::ImageRgb8(enlarged).thumbnail_exact(scene.width, scene.height);
    let mut bytes = Vec::new();
    averaged.write_with_encoder(PngEncoder::new(&mut bytes)).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn paint<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    scene: &Scene,
    scale: u32,
    target: Target,
) -> Result<(), String> {
    let factor = f64::from(scale);
    let at = |(x, y): Point| ((x * factor).round() as i32, (y * factor).round() as i32);
    let failed = |error: plotters::drawing::DrawingAreaErrorKind<DB::ErrorType>| error.to_string();
    for item in &scene.items {
        match item {
            Item::Line { points, color, width, dash } => {
                let stroke = ((width * factor).round() as u32).max(1);
                let style = ShapeStyle { color: rgba(*color), filled: false, stroke_width: stroke };
                for piece in pieces(points, *dash, *width) {
                    // plotters' raster paths spike at sharp turns: segments with round joints do not.
                    let joined = target == Target::Svg || piece.len() < 3;
                    if joined {
                        let path: Vec<_> = piece.iter().copied().map(at).collect();
                        area.draw(&PathElement::new(path, style)).map_err(failed)?;
                        continue;
                    }
                    for pair in piece.windows(2) {
                        area.draw(&PathElement::new(vec![at(pair[0]), at(pair[1])], style))
                            .map_err(failed)?;
                    }
                    for &joint in &piece[1..piece.len() - 1] {
                        area.draw(&Circle::new(at(joint), stroke / 2, rgba(*color).filled()))
                            .map_err(failed)?;
                    }
                }
            }
            Item::Area { points, color } => {
                let path: Vec<_> = points.iter().copied().map(at).collect();
                area.draw(&Polygon::new(path, rgba(*color).filled())).map_err(failed)?;
            }
            Item::Disc { center, radius, color } => {
                let radius = (radius * factor).round() as u32;
                area.draw(&Circle::new(at(*center), radius, rgba(*color).filled())).map_err(failed)?;
            }
            Item::Text { x, baseline, anchor, em, bold, color, text } => {
                // The raster side is placed by its measured width, SVG by its anchor, since a viewer may have
                // another face.
                let (h_pos, x) = match (target, anchor) {
                    (Target::Svg, Anchor::Middle) => (HPos::Center, *x),
                    (Target::Svg, Anchor::Right) => (HPos::Right, *x),
                    _ => (HPos::Left, text_box(*x, *baseline, *anchor, *em, *bold, text).left),
                };
                let mut style = text::font(target, em * factor, *bold).color(&rgba(*color));
                style.pos = Pos::new(h_pos, VPos::Top);
                let top = baseline - text::top_to_baseline(target, *em);
                area.draw_text(text, &style, at((x, top))).map_err(failed)?;
            }
        }
    }
    Ok(())
}

fn rgba(Color(red, green, blue, opacity): Color) -> RGBAColor {
    RGBAColor(red, green, blue, opacity)
}

/// A line cut into its dashes.
fn pieces(points: &[Point], dash: Dash, width: f64) -> Vec<Vec<Point>> {
    let (ink, gap) = match dash {
        Dash::Solid => return vec![points.to_vec()],
        Dash::Dashed => (4.0 * width, 3.0 * width),
        Dash::Dotted => (width, 2.0 * width),
    };
    let mut out: Vec<Vec<Point>> = Vec::new();
    let mut drawing = true;
    let mut left = ink;
    let Some(&first) = points.first() else { return out };
    out.push(vec![first]);
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            if length <= left {
                left -= length;
                if drawing && let Some(piece) = out.last_mut() {
                    piece.push(to);
                }
                break;
            }
            let share = left / length;
            from = (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1));
            if drawing {
                if let Some(piece) = out.last_mut() {
                    piece.push(from);
                }
            } else {
                out.push(vec![from]);
            }
            drawing = !drawing;
            left = if drawing { ink } else { gap };
        }
    }
    out.retain(|piece| piece.len() > 1);
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::scene::TextStyle;
    use super::*;

    #[test]
    fn dashes_have_their_lengths_also_around_corners() {
        let line = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)];
        let dashes = pieces(&line, Dash::Dashed, 2.0);
        assert_eq!(dashes, [vec![(0.0, 0.0), (8.0, 0.0)], vec![(10.0, 4.0), (10.0, 10.0)]]);
        assert_eq!(pieces(&line, Dash::Solid, 2.0), [line.to_vec()]);
    }

    #[test]
    fn edges_are_soft_and_areas_keep_their_place() {
        let mut scene = Scene::new(30, 20);
        scene.area(vec![(0.0, 0.0), (30.0, 0.0), (0.0, 20.0)], Color::INK);
        let picture = image::load_from_memory(&png(&scene).expect("draws")).expect("is a PNG").to_rgb8();
        assert_eq!(picture.dimensions(), (30, 20));
        let red = |x: u32, y: u32| picture.get_pixel(x, y).0[0];
        assert_eq!((red(2, 2), red(28, 18)), (Color::INK.0, 255));
        let along_the_edge = (0..30).map(|x| red(x, 10));
        assert!(
            along_the_edge.clone().any(|red| (60..220).contains(&red)),
            "{:?}",
            along_the_edge.collect::<Vec<_>>()
        );
    }

    #[test]
    fn svg_is_escaped_and_carries_text_widths() {
        let mut scene = Scene::new(300, 100);
        let style = TextStyle { em: 16.0, bold: false, color: Color::INK };
        scene.text(10.0, 50.0, Anchor::Left, style, "a <text> & more");
        let document = svg(&scene, "1 < 2 & 3").expect("draws");
        assert!(document.contains("<title>1 &lt; 2 &amp; 3</title>"), "{document}");
        assert!(document.contains("a &lt;text&gt; &amp; more"), "{document}");
        let length = (4.0 * text::width("a <text> & more", 16.0, false)).round();
        assert!(document.contains(&format!("<text textLength=\"{length}\"")), "{document}");
        assert!(
            document.starts_with("<svg width=\"300\" height=\"100\" viewBox=\"0 0 1200 400\""),
            "{document}"
        );
    }
}
