//! Shortening a token sequence to a stage's text length.

use shoestring_planner::recipe::TextReduction;

use super::tokenizer::{Markers, Tokenizer};
use crate::error::DataError;
use crate::streams::Stream;

/// Writes `out.len()` ids: the start marker, what is kept of a caption's ids, the end marker, zeros. As
/// `open_clip`'s tokenizer: the end marker is never cut off, and a text that fits is kept whole. Syntax keeps
/// nouns first, then adjectives, verbs and the rest, each from the left, in the order of the text (CLIPA, arXiv
/// 2305.07017, section 3.2); it is English.
///
/// `out` has room for both markers (2 or more).
pub fn reduce(
    tokenizer: &Tokenizer,
    caption: &str,
    reduction: TextReduction,
    stream: &mut Stream,
    out: &mut [u32],
) -> Result<(), DataError> {
    let Some(room) = out.len().checked_sub(2) else {
        return Err(DataError::Value {
            field: "stage.text_tokens",
            value: out.len().to_string(),
            problem: "no room for the start and the end marker".to_owned(),
            hint: "use 2 or more".to_owned(),
        });
    };
    if reduction == TextReduction::Syntax {
        let (ids, ranks) = tokenizer.encode_ranked(caption);
        let mut kept: Vec<usize> = (0..ids.len()).collect();
        // Stable: of equal rank the first in the text.
        kept.sort_by_key(|&index| ranks[index]);
        kept.truncate(room);
        kept.sort_unstable();
        write(&kept.iter().map(|&index| ids[index]).collect::<Vec<_>>(), tokenizer.markers(), out);
        return Ok(());
    }
    let ids = tokenizer.encode(caption);
    shorten(&ids, reduction, tokenizer.markers(), stream, out);
    Ok(())
}

fn shorten(ids: &[u32], reduction: TextReduction, markers: Markers, stream: &mut Stream, out: &mut [u32]) {
    let kept = ids.len().min(out.len() - 2);
    match reduction {
        TextReduction::Random if ids.len() > kept => {
            let chosen = stream.subset(ids.len() as u32, kept as u32);
            write(&chosen.iter().map(|&index| ids[index as usize]).collect::<Vec<_>>(), markers, out);
        }
        TextReduction::Block if ids.len() > kept => {
            let first = stream.below((ids.len() - kept + 1) as u32) as usize;
            write(&ids[first..first + kept], markers, out);
        }
        _ => write(&ids[..kept], markers, out),
    }
}

fn write(kept: &[u32], markers: Markers, out: &mut [u32]) {
    out.fill(0);
    out[0] = markers.start;
    out[1..=kept.len()].copy_from_slice(kept);
    out[kept.len() + 1] = markers.end;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::text::{END, START};

    fn reduced(ids: &[u32], reduction: TextReduction, length: usize, index: u64) -> Vec<u32> {
        let mut out = vec![u32::MAX; length];
        let markers = Tokenizer::shared().markers();
        shorten(ids, reduction, markers, &mut Stream::new(2, "text", index), &mut out);
        out
    }

    #[test]
    fn golden_ids_with_markers_and_padding() {
        let ids = Tokenizer::shared().encode("a photo of a cat");
        let whole = [START, 320, 1125, 539, 320, 2368, END];
        assert_eq!(reduced(&ids, TextReduction::Truncate, 7, 0), whole);
        assert_eq!(reduced(&ids, TextReduction::Truncate, 9, 0), [&whole[..], &[0, 0]].concat());
        assert_eq!(reduced(&ids, TextReduction::Truncate, 4, 0), [START, 320, 1125, END]);
        assert_eq!(reduced(&ids, TextReduction::Truncate, 2, 0), [START, END]);
        assert_eq!(reduced(&[], TextReduction::Block, 4, 0), [START, END, 0, 0]);
        for reduction in [TextReduction::Random, TextReduction::Block] {
            assert_eq!(reduced(&ids, reduction, 7, 0), whole, "what fits is kept whole");
        }
    }

    #[test]
    fn random_keeps_order_and_every_token_is_equally_likely() {
        let ids: Vec<u32> = (100..110).collect();
        let mut counts = [0u32; 10];
        for index in 0..5_000 {
            let out = reduced(&ids, TextReduction::Random, 6, index);
            assert_eq!((out[0], out[5]), (START, END));
            assert!(out[1..5].windows(2).all(|pair| pair[0] < pair[1]));
            out[1..5].iter().for_each(|id| counts[(id - 100) as usize] += 1);
        }
        // Expected 2,000, standard deviation sqrt(5000 * 0.4 * 0.6) = 35.
        assert!(counts.iter().all(|count| count.abs_diff(2_000) < 180), "{counts:?}");
    }

    #[test]
    fn block_is_contiguous_and_every_start_is_equally_likely() {
        let ids: Vec<u32> = (100..110).collect();
        let mut starts = [0u32; 7];
        for index in 0..7_000 {
            let out = reduced(&ids, TextReduction::Block, 6, index);
            assert_eq!((out[0], out[5]), (START, END));
            assert!(out[1..5].windows(2).all(|pair| pair[0] + 1 == pair[1]));
            starts[(out[1] - 100) as usize] += 1;
        }
        assert!(starts.iter().all(|count| count.abs_diff(1_000) < 150), "{starts:?}");
    }

    #[test]
    fn syntax_keeps_nouns_then_adjectives_in_the_order_of_the_text() {
        let kept = |caption: &str, length| {
            let mut out = vec![u32::MAX; length];
            let mut stream = Stream::new(0, "text", 0);
            reduce(Tokenizer::shared(), caption, TextReduction::Syntax, &mut stream, &mut out).unwrap();
            out
        };
        let expected = |text: &str| [vec![START], Tokenizer::shared().encode(text), vec![END]].concat();
        let caption = "a small brown dog is sleeping on the wooden table";
        assert_eq!(kept(caption, 4), expected("dog table"));
        assert_eq!(kept(caption, 6), expected("small brown dog table"));
        assert_eq!(kept(caption, 7), expected("small brown dog wooden table"));
        assert_eq!(kept(caption, 12), expected(caption));
    }

    #[test]
    fn too_short_a_length_is_refused() {
        let mut out = [0; 8];
        let mut stream = Stream::new(0, "text", 0);
        let error = reduce(Tokenizer::shared(), "cat", TextReduction::Truncate, &mut stream, &mut out[..1])
            .unwrap_err();
        assert!(error.to_string().contains("stage.text_tokens = 1"), "{error}");
    }
}
