//! Pages of a column, looked at before they are decoded: the decoders make room for as many values as a page says that
//! it has, which in a damaged or hostile file may be more than any memory holds.

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};

/// Bytes that every text of a dictionary takes: its length.
const LENGTH_BYTES: usize = 4;

/// A reader of pages that hands out only those whose numbers of values can be.
pub(super) struct CheckedPages {
    pub(super) pages: Box<dyn PageReader>,
    /// Whether values may be null, so that their levels come first in a page.
    pub(super) nullable: bool,
    /// Values that a page may have at most.
    pub(super) most_values: u64,
}

impl CheckedPages {
    fn check(&self, page: &Page) -> Result<()> {
        let (texts, encoding) = match page {
            Page::DictionaryPage { buf, num_values, .. } => {
                let room = buf.len() / LENGTH_BYTES;
                return if *num_values as usize <= room { Ok(()) } else { Err(too_many(*num_values)) };
            }
            Page::DataPage { buf, encoding, .. } if self.nullable => {
                let (length, rest) = buf.split_first_chunk::<LENGTH_BYTES>().ok_or_else(cut_off)?;
                (rest.get(u32::from_le_bytes(*length) as usize..), *encoding)
            }
            Page::DataPage { buf, encoding, .. } => (Some(&buf[..]), *encoding),
            Page::DataPageV2 { buf, encoding, def_levels_byte_len, rep_levels_byte_len, .. } => {
                let levels = (*def_levels_byte_len as usize).saturating_add(*rep_levels_byte_len as usize);
                (buf.get(levels..), *encoding)
            }
        };
        match encoding {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => {
                let values = texts.and_then(delta_values).ok_or_else(cut_off)?;
                if values <= self.most_values { Ok(()) } else { Err(too_many(values)) }
            }
            // How many values it has stands behind what has to be decoded first.
            Encoding::DELTA_BYTE_ARRAY => {
                Err(ParquetError::NYI("its texts are encoded as DELTA_BYTE_ARRAY".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

fn too_many(values: impl std::fmt::Display) -> ParquetError {
    ParquetError::General(format!("a page of it says that it has {values} values, for which it is too short"))
}

fn cut_off() -> ParquetError {
    ParquetError::General("a page of it is cut off".to_owned())
}

/// The number of values in the header of delta-packed numbers: the third of its variable-length numbers, after the
/// sizes of blocks (Parquet's "Encodings", DELTA_BINARY_PACKED).
fn delta_values(bytes: &[u8]) -> Option<u64> {
    let mut bytes = bytes.iter();
    let mut next = || {
        let (mut number, mut shift) = (0u64, 0);
        loop {
            let byte = *bytes.next()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
            shift += 7;
        }
    };
    next()?;
    next()?;
    next()
}

impl Iterator for CheckedPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.iter().try_for_each(|page| self.check(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Given(Option<Page>);

    impl Iterator for Given {
        type Item = Result<Page>;

        fn next(&mut self) -> Option<Self::Item> {
            self.0.take().map(Ok)
        }
    }

    impl PageReader for Given {
        fn get_next_page(&mut self) -> Result<Option<Page>> {
            Ok(self.0.take())
        }

        fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
            Ok(None)
        }

        fn skip_next_page(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn accepted(page: Page, nullable: bool) -> bool {
        CheckedPages { pages: Box::new(Given(Some(page))), nullable, most_values: 1000 }
            .get_next_page()
            .is_ok()
    }

    fn dictionary(num_values: u32) -> Page {
        Page::DictionaryPage {
            buf: vec![0; 40].into(),
            num_values,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        }
    }

    /// A page with `levels` and delta-packed lengths that are `values` in number.
    fn delta(levels: &[u8], values: &[u8]) -> Page {
        Page::DataPage {
            buf: [levels, &[128, 1, 4], values, &[0; 8]].concat().into(),
            num_values: 3,
            encoding: Encoding::DELTA_LENGTH_BYTE_ARRAY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        }
    }

    /// Found by fuzzing: room was made for 65 GB.
    #[test]
    fn a_page_that_says_it_has_more_values_than_can_be_is_refused_before_room_is_made_for_them() {
        assert!(accepted(dictionary(10), false));
        assert!(!accepted(dictionary(11), false));
        assert!(!accepted(dictionary(u32::MAX), false));
        for (levels, nullable) in [(&[][..], false), (&[2, 0, 0, 0, 6, 1][..], true)] {
            assert!(accepted(delta(levels, &[0xe8, 7]), nullable), "1000");
            assert!(!accepted(delta(levels, &[0xe9, 7]), nullable), "1001");
            assert!(!accepted(delta(levels, &[0xff; 40]), nullable), "no end");
        }
        assert!(!accepted(delta(&[200, 0, 0, 0], &[3]), true), "levels longer than the page");
    }
}
