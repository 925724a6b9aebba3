//! Damage to files.

/// Numbers that lengths like to be wrong by.
const LIES: [u64; 12] =
    [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];
const WORDS: [&[u8]; 20] = [
    b"\xff\xd8",
    b"\xff\xd9",
    b"\xff\xda\x00\x0c",
    b"\xff\xc4\x01\xa2",
    b"IDAT",
    b"IHDR",
    b"ANMF",
    b"77777777777\0",
    b"{0..999999}",
    b"&#x110000;",
    b"\"caption\"",
    b"../../",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\0\0\0\0\0\0\0\0",
    b"cos\nsystem\nX\x02\x00\x00\x00ls\x85R",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"((}q\x00h\x00",
    b"99999999999",
    b"null",
    b"{c}",
];

pub struct Mutator(u64);

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() >> 16) as usize % bound }
    }

    pub fn damaged(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(6) {
            self.damage(&mut bytes, seeds);
        }
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        // Headers matter most: half of all damage is done near the beginning.
        let reach = if self.below(2) == 0 { bytes.len().min(96) } else { bytes.len() };
        let at = self.below(reach);
        match self.below(11) {
            _ if bytes.is_empty() => bytes.push(self.next() as u8),
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.next() as u8,
            2 => {
                let lie = LIES[self.below(LIES.len())].to_be_bytes();
                let width = [1, 2, 4, 8][self.below(4)];
                for (offset, &byte) in lie[8 - width..].iter().enumerate() {
                    if let Some(slot) = bytes.get_mut(at + offset) {
                        *slot = byte;
                    }
                }
            }
            3 => bytes.truncate(self.below(bytes.len())),
            4 => {
                let end = (at + 1 + self.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let word = WORDS[self.below(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            6 => {
                let length = 1 + self.below(256);
                let from = self.below(bytes.len());
                let part: Vec<u8> = bytes[from..(from + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
            7 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len());
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
            8 => {
                let end = (at + self.below(32)).min(bytes.len());
                let byte = self.next() as u8;
                bytes[at..end].fill(byte);
            }
            9 => {
                let other = self.below(bytes.len());
                bytes.swap(at, other);
            }
            _ => {
                let delta = if self.below(2) == 0 { 1 } else { 0xff };
                bytes[at] = bytes[at].wrapping_add(delta);
            }
        }
        bytes.truncate(1 << 20);
    }
}
