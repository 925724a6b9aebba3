//! `data synth`: the generator's pictures as shards.

use std::ops::ControlFlow;

use shoestring_data::{SynthRequest, write_synth};

use super::failure;
use crate::cli::SynthArgs;
use crate::failure::{Exit, Failure};
use crate::output::Printer;
use crate::progress::bar;

pub(crate) fn synth(args: &SynthArgs, printer: Printer) -> Result<Exit, Failure> {
    let request = SynthRequest {
        out: args.out.clone(),
        samples: args.samples,
        eval_samples: args.eval_samples,
        image_size_px: args.image_size,
        shards: args.shards,
        seed: args.seed,
    };
    let bar = bar(printer, args.samples.0 + args.eval_samples.0, "drawing");
    let data = write_synth(&request, &mut |progress| {
        bar.set_position(progress.done);
        ControlFlow::Continue(())
    })
    .map_err(failure)?;
    bar.finish_and_clear();
    printer.data(&format!(
        "{}: {} training pairs, {} labelled images of classes held out of training",
        args.out.join("dataset.toml").display(),
        data.unique_samples,
        data.evaluation.map_or(0, |evaluation| evaluation.samples.0),
    ))?;
    Ok(Exit::Success)
}
