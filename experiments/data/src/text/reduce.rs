//! Shortening a token sequence to a stage's text length.

use shoestring_planner::recipe::TextReduction;

use super::{END, START};
use crate::error::DataError;
use crate::streams::Stream;

/// Refuses the reductions that this version does not have.
pub fn check_reduction(reduction: TextReduction) -> Result<(), DataError> {
    match reduction {
        TextReduction::Truncate | TextReduction::Random | TextReduction::Block => Ok(()),
        TextReduction::Syntax => Err(DataError::Value {
            field: "stage.text_reduction",
            value: "syntax".to_owned(),
            problem: "this version cannot tell nouns from other words".to_owned(),
            hint: "use \"block\" or \"truncate\"".to_owned(),
        }),
    }
}

/// Writes `out.len()` ids: [`START`], what is kept of `ids` (which has no markers), [`END`], zeros. As
/// `open_clip`'s tokenizer: the end marker is never cut off, and a text that fits is kept whole.
///
/// `out` has room for both markers (2 or more).
pub fn reduce(
    ids: &[u32],
    reduction: TextReduction,
    stream: &mut Stream,
    out: &mut [u32],
) -> Result<(), DataError> {
    check_reduction(reduction)?;
    let Some(room) = out.len().checked_sub(2) else {
        return Err(DataError::Value {
            field: "stage.text_tokens",
            value: out.len().to_string(),
            problem: "no room for the start and the end marker".to_owned(),
            hint: "use 2 or more".to_owned(),
        });
    };
    out.fill(0);
    out[0] = START;
    let kept = ids.len().min(room);
    let inner = &mut out[1..=kept];
    match reduction {
        TextReduction::Random if ids.len() > room => {
            let chosen = stream.subset(ids.len() as u32, kept as u32);
            inner.iter_mut().zip(chosen).for_each(|(slot, index)| *slot = ids[index as usize]);
        }
        TextReduction::Block if ids.len() > room => {
            let first = stream.below((ids.len() - kept + 1) as u32) as usize;
            inner.copy_from_slice(&ids[first..first + kept]);
        }
        _ => inner.copy_from_slice(&ids[..kept]),
    }
    out[kept + 1] = END;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::text::Tokenizer;

    fn reduced(ids: &[u32], reduction: TextReduction, length: usize, index: u64) -> Vec<u32> {
        let mut out = vec![u32::MAX; length];
        reduce(ids, reduction, &mut Stream::new(2, "text", index), &mut out).unwrap();
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
    fn syntax_and_too_short_a_length_are_refused() {
        let mut out = [0; 8];
        let error =
            reduce(&[5], TextReduction::Syntax, &mut Stream::new(0, "text", 0), &mut out).unwrap_err();
        assert!(error.to_string().contains("this version cannot"), "{error}");
        assert!(error.hint().unwrap().contains("block"));
        let error =
            reduce(&[5], TextReduction::Truncate, &mut Stream::new(0, "text", 0), &mut out[..1]).unwrap_err();
        assert!(error.to_string().contains("stage.text_tokens = 1"), "{error}");
    }
}
