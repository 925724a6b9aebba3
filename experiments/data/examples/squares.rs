//! Prepares pictures: each line on stdin is a JSON array of path, side in pixels, and view, which is `"squash"`,
//! `"centre"` or `[left, top, width, height]`. Writes the square's numbers (three planes, not normalised but to
//! a mean of 0.5 and a deviation of 0.5) as little-endian 32-bit floats.

use std::error::Error;
use std::io::{BufWriter, Write, stdin, stdout};

use serde_json::Value;
use shoestring_data::picture::{Region, View, decode_view};
use shoestring_planner::recipe::{ImagePreparation, Interpolation, Normalisation};

fn main() -> Result<(), Box<dyn Error>> {
    let how =
        ImagePreparation { normalisation: Normalisation::Inception, interpolation: Interpolation::Bicubic };
    let mut out = BufWriter::new(stdout().lock());
    for line in stdin().lines() {
        let (path, size, view): (String, u32, Value) = serde_json::from_str(&line?)?;
        let view = match &view {
            Value::String(name) if name == "centre" => View::Centre,
            Value::Array(numbers) => {
                let number = |index: usize| numbers.get(index).and_then(Value::as_u64).unwrap_or(0) as u32;
                View::Region(Region { left: number(0), top: number(1), width: number(2), height: number(3) })
            }
            _ => View::Squash,
        };
        let mut pixels = vec![0.0; 3 * (size as usize).pow(2)];
        decode_view(&std::fs::read(path)?, |_, _| view, size, how, &mut pixels)?;
        for value in pixels {
            out.write_all(&value.to_le_bytes())?;
        }
    }
    out.flush()?;
    Ok(())
}
