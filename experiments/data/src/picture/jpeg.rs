//! Baseline JPEG files decoded at a half, a quarter or an eighth of their size.
//!
//! Every block of 8 x 8 becomes one of 4 x 4, 2 x 2 or 1 x 1 by an inverse cosine transform of its lowest
//! frequencies alone (as libjpeg's scaled decoding), which antialiases and spares most of the arithmetic. Colour
//! planes that are stored smaller are decoded at the size that they are needed at. Entropy coding as in ITU-T
//! T.81, annex F. Whatever this does not know (progressive files, CMYK, odd samplings) and whatever is damaged
//! is left to the full decoder.

use super::Rgb;

/// From the order in which frequencies are stored to row times 8 plus column.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];
/// Bits of a code that one look into a table decides.
const FAST_BITS: u32 = 10;

/// The picture at 1/`scale` of its size, for a `scale` of 2, 4 or 8; `None`: not of the kind that is read here.
pub(super) fn decode_smaller(bytes: &[u8], scale: u32) -> Option<Rgb> {
    let mut decoder = Decoder::default();
    let scan = decoder.read_headers(bytes)?;
    decoder.decode_scan(scan, 8 / scale as usize)
}

#[derive(Default)]
struct Decoder {
    width: u32,
    height: u32,
    components: Vec<Component>,
    quantisation: [Option<[u16; 64]>; 4],
    dc: [Option<Box<Codes>>; 4],
    ac: [Option<Box<Codes>>; 4],
    restart_interval: usize,
}

struct Component {
    id: u8,
    across: usize,
    down: usize,
    quantisation: usize,
    dc: usize,
    ac: usize,
}

/// A table of codes.
struct Codes {
    /// By the next [`FAST_BITS`] bits: length of the code and its symbol; a length of 0: a longer code.
    fast: Vec<(u8, u8)>,
    /// By the same bits, where code and value fit into them: value, zeros before it, bits of both.
    values: Vec<(i16, u8, u8)>,
    /// For each length, the first code that is longer, moved to the top of 16 bits.
    limits: [u32; 18],
    /// For each length, what added to a code gives the place of its symbol.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Codes {
    fn new(counts: &[u8], symbols: &[u8]) -> Option<Self> {
        let mut codes = Self {
            fast: vec![(0, 0); 1 << FAST_BITS],
            values: vec![(0, 0, 0); 1 << FAST_BITS],
            limits: [u32::MAX; 18],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0u32, 0usize);
        for length in 1..=16u32 {
            codes.offsets[length as usize] = place as i32 - code as i32;
            for _ in 0..*counts.get(length as usize - 1)? {
                if code >= 1 << length {
                    return None;
                }
                if length <= FAST_BITS {
                    let first = (code << (FAST_BITS - length)) as usize;
                    let entry = (length as u8, *symbols.get(place)?);
                    codes.fast[first..first + (1 << (FAST_BITS - length))].fill(entry);
                }
                code += 1;
                place += 1;
            }
            codes.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        for (bits, value) in codes.values.iter_mut().enumerate() {
            let (length, symbol) = codes.fast[bits];
            let (zeros, size) = (symbol >> 4, u32::from(symbol & 15));
            let all = u32::from(length) + size;
            if length > 0 && size > 0 && all <= FAST_BITS {
                let raw = (bits as u32 >> (FAST_BITS - all)) & ((1 << size) - 1);
                *value = (extend(raw, size) as i16, zeros, all as u8);
            }
        }
        Some(codes)
    }
}

/// The number that `size` bits of a value stand for (T.81, F.2.2.1).
fn extend(raw: u32, size: u32) -> i32 {
    if raw < 1 << (size - 1) { raw as i32 - (1 << size) + 1 } else { raw as i32 }
}

/// The bits of a scan, the stuffing taken out.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, from the top.
    buffer: u64,
    count: u32,
    /// Zero bits made up after the end.
    made_up: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, buffer: 0, count: 0, made_up: 0 }
    }

    /// At least 32 bits in the buffer.
    #[inline]
    fn refill(&mut self) {
        if self.count > 32 {
            return;
        }
        if let Some(&next) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<4>()) {
            let word = u32::from_be_bytes(next);
            let has_ff = (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080 != 0;
            if !has_ff {
                self.buffer |= u64::from(word) << (32 - self.count);
                self.count += 32;
                self.at += 4;
                return;
            }
        }
        self.refill_slowly();
    }

    #[cold]
    fn refill_slowly(&mut self) {
        while self.count <= 56 {
            let byte = match self.bytes.get(self.at..self.at + 2) {
                Some([0xff, 0]) => {
                    self.at += 2;
                    0xff
                }
                // A marker: nothing more comes.
                Some([0xff, _]) | None => {
                    self.made_up += 8;
                    0
                }
                Some(pair) => {
                    self.at += 1;
                    pair[0]
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    #[inline]
    fn drop(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count -= bits;
    }

    #[inline]
    fn symbol(&mut self, codes: &Codes) -> Option<u8> {
        let (length, symbol) = codes.fast[(self.buffer >> (64 - FAST_BITS)) as usize];
        if length > 0 {
            self.drop(u32::from(length));
            return Some(symbol);
        }
        let next = (self.buffer >> 48) as u32;
        let length = (FAST_BITS + 1..=16).find(|&length| next < codes.limits[length as usize])?;
        let code = (next >> (16 - length)) as i32;
        let symbol = *codes.symbols.get(usize::try_from(code + codes.offsets[length as usize]).ok()?)?;
        self.drop(length);
        Some(symbol)
    }

    /// A value of so many bits.
    #[inline]
    fn value(&mut self, size: u32) -> i32 {
        if size == 0 {
            return 0;
        }
        let raw = (self.buffer >> (64 - size)) as u32;
        self.drop(size);
        extend(raw, size)
    }

    /// Whether more bits were taken than there are.
    fn overrun(&self) -> bool {
        self.made_up > self.count
    }

    /// Goes on behind a restart marker.
    fn restart(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.at..)?;
        let marker = rest.windows(2).position(|pair| pair[0] == 0xff && (0xd0..=0xd7).contains(&pair[1]))?;
        // Between the last bit and the marker there is nothing but padding.
        if marker > 8 {
            return None;
        }
        *self = Self { at: self.at + marker + 2, ..Self::new(self.bytes) };
        Some(())
    }
}

impl Decoder {
    /// Reads what stands before the scan; gives what stands after its header.
    fn read_headers<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let mut at = 2;
        loop {
            let (&0xff, &kind) = (bytes.get(at)?, bytes.get(at + 1)?) else { return None };
            if kind == 0xff {
                at += 1;
                continue;
            }
            if matches!(kind, 0x01 | 0xd0..=0xd8) {
                at += 2;
                continue;
            }
            let length = usize::from(word(bytes, at + 2)?);
            let data = bytes.get(at + 4..at + 2 + length)?;
            at += 2 + length;
            match kind {
                // Baseline, and the extended sequence of it in 8 bits.
                0xc0 | 0xc1 => self.read_frame(data)?,
                0xc4 => self.read_codes(data)?,
                0xdb => self.read_quantisation(data)?,
                0xdd => self.restart_interval = usize::from(word(data, 0)?),
                0xda => {
                    self.read_scan_header(data)?;
                    return bytes.get(at..);
                }
                // Adobe's marker: colours that are no luminance and chrominance.
                0xee if data.starts_with(b"Adobe") && data.get(11) != Some(&1) => return None,
                0xc2..=0xcf | 0xd9 | 0xdc => return None,
                _ => {}
            }
        }
    }

    fn read_frame(&mut self, data: &[u8]) -> Option<()> {
        if !self.components.is_empty() || data.first()? != &8 {
            return None;
        }
        (self.height, self.width) = (u32::from(word(data, 1)?), u32::from(word(data, 3)?));
        let count = usize::from(*data.get(5)?);
        if self.width == 0 || self.height == 0 || !matches!(count, 1 | 3) {
            return None;
        }
        for number in 0..count {
            let &[id, sampling, quantisation] = data.get(6 + 3 * number..9 + 3 * number)? else {
                return None;
            };
            let (across, down) = (usize::from(sampling >> 4), usize::from(sampling & 15));
            if quantisation > 3 || !matches!(across, 1 | 2) || !matches!(down, 1 | 2) {
                return None;
            }
            let quantisation = usize::from(quantisation);
            self.components.push(Component { id, across, down, quantisation, dc: 0, ac: 0 });
        }
        if count == 1 {
            // A lone plane is not interleaved, whatever its sampling says.
            (self.components[0].across, self.components[0].down) = (1, 1);
        }
        let ids: Vec<u8> = self.components.iter().map(|component| component.id).collect();
        if ids == *b"RGB" { None } else { Some(()) }
    }

    fn read_codes(&mut self, mut data: &[u8]) -> Option<()> {
        while let [kind, rest @ ..] = data {
            let counts = rest.get(..16)?;
            let all: usize = counts.iter().map(|&count| usize::from(count)).sum();
            let codes = Box::new(Codes::new(counts, rest.get(16..16 + all)?)?);
            let tables = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(kind & 15))? = Some(codes);
            data = &rest[16 + all..];
        }
        Some(())
    }

    fn read_quantisation(&mut self, mut data: &[u8]) -> Option<()> {
        while let [kind, rest @ ..] = data {
            let mut table = [0u16; 64];
            let wide = kind >> 4 != 0;
            for (number, value) in table.iter_mut().enumerate() {
                *value = if wide { word(rest, 2 * number)? } else { u16::from(*rest.get(number)?) };
            }
            *self.quantisation.get_mut(usize::from(kind & 15))? = Some(table);
            data = rest.get(if wide { 128 } else { 64 }..)?;
        }
        Some(())
    }

    fn read_scan_header(&mut self, data: &[u8]) -> Option<()> {
        if usize::from(*data.first()?) != self.components.len() || self.components.is_empty() {
            return None;
        }
        for (component, pair) in self.components.iter_mut().zip(data.get(1..)?.as_chunks::<2>().0) {
            if component.id != pair[0] {
                return None;
            }
            (component.dc, component.ac) = (usize::from(pair[1] >> 4), usize::from(pair[1] & 15));
        }
        Some(())
    }

    /// Decodes the scan with blocks of `size` for the plane that is stored largest.
    fn decode_scan(&self, scan: &[u8], size: usize) -> Option<Rgb> {
        let most = |of: fn(&Component) -> usize| self.components.iter().map(of).max().unwrap_or(1);
        let (across, down) = (most(|component| component.across), most(|component| component.down));
        let units_across = (self.width as usize).div_ceil(8 * across);
        let units_down = (self.height as usize).div_ceil(8 * down);
        let mut planes = Vec::with_capacity(self.components.len());
        for component in &self.components {
            let (wide, high) = (size * across / component.across, size * down / component.down);
            planes.push(Plane {
                quantisation: self.quantisation[component.quantisation].as_ref()?,
                dc: self.dc.get(component.dc)?.as_deref()?,
                ac: self.ac.get(component.ac)?.as_deref()?,
                across: component.across,
                down: component.down,
                transform: Transform::new(wide, high),
                last_dc: 0,
                stride: units_across * across * size,
                pixels: vec![0; units_across * across * size * units_down * down * size],
            });
        }
        let mut bits = Bits::new(scan);
        for unit in 0..units_across * units_down {
            if self.restart_interval > 0 && unit > 0 && unit % self.restart_interval == 0 {
                bits.restart()?;
                planes.iter_mut().for_each(|plane| plane.last_dc = 0);
            }
            let (column, row) = (unit % units_across, unit / units_across);
            for plane in &mut planes {
                for block in 0..plane.across * plane.down {
                    let x = column * plane.across + block % plane.across;
                    let y = row * plane.down + block / plane.across;
                    plane.decode_block(&mut bits, x, y)?;
                }
            }
            if bits.overrun() {
                return None;
            }
        }
        let scaled = |side: u32| (side as usize * size).div_ceil(8);
        Some(merge(&planes, scaled(self.width), scaled(self.height)))
    }
}

struct Plane<'a> {
    quantisation: &'a [u16; 64],
    dc: &'a Codes,
    ac: &'a Codes,
    across: usize,
    down: usize,
    transform: Transform,
    last_dc: i32,
    stride: usize,
    pixels: Vec<u8>,
}

impl Plane<'_> {
    fn decode_block(&mut self, bits: &mut Bits<'_>, x: usize, y: usize) -> Option<()> {
        let (wide, high) = (self.transform.wide, self.transform.high);
        let mut frequencies = [0f32; 64];
        bits.refill();
        let size = bits.symbol(self.dc)?;
        if size > 15 {
            return None;
        }
        self.last_dc = self.last_dc.wrapping_add(bits.value(u32::from(size)));
        frequencies[0] = self.last_dc as f32 * f32::from(self.quantisation[0]);
        let (mut rows, mut place) = (1, 1);
        while place < 64 {
            bits.refill();
            let (value, zeros, length) = self.ac.values[(bits.buffer >> (64 - FAST_BITS)) as usize];
            let value = if length > 0 {
                bits.drop(u32::from(length));
                place += usize::from(zeros);
                i32::from(value)
            } else {
                let symbol = bits.symbol(self.ac)?;
                let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
                if size == 0 {
                    if zeros < 15 {
                        break;
                    }
                    place += 16;
                    continue;
                }
                place += zeros;
                bits.value(size)
            };
            let natural = usize::from(*ZIGZAG.get(place)?);
            let (row, column) = (natural / 8, natural % 8);
            if row < high && column < wide {
                frequencies[natural] = value as f32 * f32::from(self.quantisation[place]);
                rows = rows.max(row + 1);
            }
            place += 1;
        }
        let first = y * high * self.stride + x * wide;
        self.transform.apply(&frequencies, rows, &mut self.pixels[first..], self.stride);
        Some(())
    }
}

/// The inverse cosine transform of the lowest frequencies to a block of `wide` by `high`.
struct Transform {
    wide: usize,
    high: usize,
    /// `across[u][x]` is what frequency u adds at x.
    across: [[f32; 8]; 8],
    down: [[f32; 8]; 8],
}

impl Transform {
    fn new(wide: usize, high: usize) -> Self {
        let basis = |size: usize| {
            let mut basis = [[0.0; 8]; 8];
            for (u, row) in basis.iter_mut().enumerate().take(size) {
                for (x, value) in row.iter_mut().enumerate().take(size) {
                    let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / (2 * size) as f64;
                    let factor = if u == 0 { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
                    *value = (0.5 * factor * angle.cos()) as f32;
                }
            }
            basis
        };
        Self { wide, high, across: basis(wide), down: basis(high) }
    }

    /// `rows`: rows of frequencies from here on are nothing.
    fn apply(&self, frequencies: &[f32; 64], rows: usize, out: &mut [u8], stride: usize) {
        match (self.wide, self.high) {
            (1, 1) => out[0] = byte(frequencies[0] * 0.125),
            (2, 2) => self.apply_square::<2>(frequencies, rows, out, stride),
            (4, 4) => self.apply_square::<4>(frequencies, rows, out, stride),
            (8, 8) => self.apply_square::<8>(frequencies, rows, out, stride),
            (wide, high) => {
                for y in 0..high {
                    for x in 0..wide {
                        let mut sum = 0.0;
                        for v in 0..rows {
                            for u in 0..wide {
                                sum += frequencies[8 * v + u] * self.across[u][x] * self.down[v][y];
                            }
                        }
                        out[y * stride + x] = byte(sum);
                    }
                }
            }
        }
    }

    fn apply_square<const N: usize>(
        &self,
        frequencies: &[f32; 64],
        rows: usize,
        out: &mut [u8],
        stride: usize,
    ) {
        let mut sums = [[0f32; N]; N];
        for v in 0..rows.min(N) {
            let mut row = [0f32; N];
            for u in 0..N {
                let frequency = frequencies[8 * v + u];
                for (sum, across) in row.iter_mut().zip(&self.across[u]) {
                    *sum += frequency * across;
                }
            }
            for (y, sums) in sums.iter_mut().enumerate() {
                let factor = self.down[v][y];
                for (sum, value) in sums.iter_mut().zip(&row) {
                    *sum += value * factor;
                }
            }
        }
        for (y, sums) in sums.iter().enumerate() {
            let target = &mut out[y * stride..y * stride + N];
            for x in 0..N {
                target[x] = byte(sums[x]);
            }
        }
    }
}

/// A sample around 0 as a byte.
#[inline]
fn byte(value: f32) -> u8 {
    // The cast cuts off what is below 0 and above 255.
    (value + 128.5) as u8
}

/// Red, green, blue from luminance and chrominance (JFIF), or grey.
fn merge(planes: &[Plane<'_>], width: usize, height: usize) -> Rgb {
    let mut pixels = vec![0u8; width * height * 3];
    for (y, row) in pixels.chunks_exact_mut(width * 3).enumerate() {
        let line = |plane: &Plane<'_>| y * plane.stride..y * plane.stride + width;
        let grey = &planes[0].pixels[line(&planes[0])];
        match planes {
            [_, blue, red] => {
                let (blue, red) = (&blue.pixels[line(blue)], &red.pixels[line(red)]);
                for (((pixel, &y), &cb), &cr) in
                    row.as_chunks_mut::<3>().0.iter_mut().zip(grey).zip(blue).zip(red)
                {
                    // Fixed point, 16 bits behind the point.
                    let y = (i32::from(y) << 16) + (1 << 15);
                    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
                    let clamp = |value: i32| (value >> 16).clamp(0, 255) as u8;
                    *pixel = [
                        clamp(y + 91_881 * cr),
                        clamp(y - 22_554 * cb - 46_802 * cr),
                        clamp(y + 116_130 * cb),
                    ];
                }
            }
            _ => {
                row.as_chunks_mut::<3>().0.iter_mut().zip(grey).for_each(|(pixel, &grey)| *pixel = [grey; 3])
            }
        }
    }
    Rgb { width: width as u32, height: height as u32, pixels }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::picture::decode;

    /// Smooth, so that leaving out frequencies loses nothing.
    fn smooth(width: u32, height: u32) -> image::DynamicImage {
        image::RgbImage::from_fn(width, height, |x, y| {
            let wave = |step: f32, at: u32| (127.0 + 100.0 * (at as f32 / step).sin()) as u8;
            image::Rgb([wave(40.0, x), wave(30.0, y), wave(50.0, x + y)])
        })
        .into()
    }

    fn jpeg(picture: &image::DynamicImage) -> Vec<u8> {
        let mut bytes = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
        picture.write_with_encoder(encoder).unwrap();
        bytes
    }

    #[test]
    fn smaller_blocks_are_the_means_of_larger_ones() {
        let grey = image::DynamicImage::from(smooth(90, 70).into_luma8());
        for picture in [smooth(64, 64), smooth(203, 117), smooth(8, 8), smooth(1, 1), smooth(33, 500), grey] {
            let bytes = jpeg(&picture);
            let whole = decode(&bytes).unwrap();
            for scale in [2, 4, 8] {
                let small = decode_smaller(&bytes, scale).unwrap();
                assert_eq!(small.width, whole.width.div_ceil(scale));
                assert_eq!(small.height, whole.height.div_ceil(scale));
                for y in 0..whole.height / scale {
                    for x in 0..whole.width / scale {
                        for channel in 0..3 {
                            let mut sum = 0u32;
                            for inner in 0..scale * scale {
                                let (x, y) = (x * scale + inner % scale, y * scale + inner / scale);
                                sum +=
                                    u32::from(whole.pixels[((y * whole.width + x) * 3 + channel) as usize]);
                            }
                            let mean = sum / (scale * scale);
                            let found =
                                u32::from(small.pixels[((y * small.width + x) * 3 + channel) as usize]);
                            assert!(found.abs_diff(mean) <= 6, "1/{scale} at {x},{y}: {found} for {mean}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn damage_is_left_to_the_other_decoder() {
        let bytes = jpeg(&smooth(60, 60));
        for keep in 0..bytes.len() {
            // A cut inside the scan must not come out as a picture.
            let cut = decode_smaller(&bytes[..keep], 4);
            assert!(cut.is_none() || keep + 8 > bytes.len(), "{keep} of {}", bytes.len());
        }
        for at in 0..bytes.len() {
            for value in [0, 0x55, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= value;
                // Whatever comes out, it does not panic.
                let _ = decode_smaller(&damaged, 2);
            }
        }
    }
}
