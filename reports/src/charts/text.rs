//! The charts' text face: Arimo, embedded, so that no font of the system is needed.

use std::sync::OnceLock;

use plotters::style::{FontDesc, FontFamily, FontStyle, register_font};

static REGULAR: &[u8] = include_bytes!("../../assets/Arimo-Regular-subset.ttf");
static BOLD: &[u8] = include_bytes!("../../assets/Arimo-Bold-subset.ttf");

/// What SVG files ask for: faces with Arimo's widths first, whichever a system has.
const FAMILY: &str = "Arimo, Liberation Sans, Arial, Helvetica, sans-serif";

/// Ascent plus descent of Arimo over its em: the rasteriser's size is this many ems.
const LINE_PER_EM: f64 = (1854.0 + 434.0) / 2048.0;

/// plotters writes `size / 1.24` as an SVG's font size.
const SVG_SIZE_PER_EM: f64 = 1.24;

/// Which renderer a size is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Svg,
    Raster,
}

/// Registers the faces once for the process.
pub(super) fn register() -> Result<(), String> {
    static RESULT: OnceLock<Result<(), String>> = OnceLock::new();
    RESULT
        .get_or_init(|| {
            for (style, bytes) in [(FontStyle::Normal, REGULAR), (FontStyle::Bold, BOLD)] {
                register_font(FAMILY, style, bytes).map_err(|_| "the embedded font is damaged".to_owned())?;
            }
            Ok(())
        })
        .clone()
}

/// The face at `em` pixels an em.
pub(super) fn font(target: Target, em: f64, bold: bool) -> FontDesc<'static> {
    let factor = match target {
        Target::Svg => SVG_SIZE_PER_EM,
        Target::Raster => LINE_PER_EM,
    };
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    FontDesc::new(FontFamily::Name(FAMILY), em * factor, style)
}

/// From the top of the text, as plotters places it, to the baseline.
pub(super) fn top_to_baseline(target: Target, em: f64) -> f64 {
    match target {
        Target::Svg => 0.76 * em,
        Target::Raster => LINE_PER_EM * em / 2.0,
    }
}

/// Width of a line of text in pixels. Measured large, since plotters rounds to whole pixels.
pub(super) fn width(text: &str, em: f64, bold: bool) -> f64 {
    const LARGE: f64 = 16.0;
    // Without the font (which `register` reports) a rough width keeps the layout going.
    let rough = text.chars().count() as f64 * em * 0.55;
    font(Target::Raster, em * LARGE, bold).box_size(text).map_or(rough, |(width, _)| f64::from(width) / LARGE)
}

/// The text cut to `room` pixels with an ellipsis.
pub(super) fn fitted(text: &str, em: f64, bold: bool, room: f64) -> String {
    if width(text, em, bold) <= room {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let cut: String = kept.iter().collect::<String>().trim_end().to_owned() + "…";
        if width(&cut, em, bold) <= room {
            return cut;
        }
    }
    String::new()
}

/// The text broken at spaces into lines of at most `room` pixels; words that are longer are cut.
pub(super) fn wrapped(text: &str, em: f64, bold: bool, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if let Some(line) = lines.last_mut() {
            let longer = format!("{line} {word}");
            if width(&longer, em, bold) <= room {
                *line = longer;
                continue;
            }
        }
        lines.push(fitted(word, em, bold, room));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_the_face() {
        register().expect("the font is embedded");
        // Arimo's digits are 1139 of 2048 units wide, its bold `M` 1706.
        assert!((width("0000000000", 16.0, false) - 10.0 * 16.0 * 1139.0 / 2048.0).abs() < 0.2);
        assert!((width("M", 100.0, true) - 100.0 * 1706.0 / 2048.0).abs() < 0.2);
    }

    #[test]
    fn text_is_cut_and_wrapped_to_the_room() {
        register().expect("the font is embedded");
        let long = "a run with a name that nobody should have given it";
        let cut = fitted(long, 16.0, false, 100.0);
        assert!(cut.ends_with('…') && width(&cut, 16.0, false) <= 100.0, "{cut}");
        let lines = wrapped(long, 16.0, false, 100.0);
        assert!(lines.len() > 2 && lines.iter().all(|line| width(line, 16.0, false) <= 100.0));
        assert_eq!(lines.join(" "), long);
        assert_eq!(fitted("abc", 16.0, false, 1.0), "");
    }
}
