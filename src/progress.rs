//! Progress on stderr: bars on a terminal, a line now and then elsewhere, nothing when quiet.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use shoestring_experiments::records::EvaluationLine;
use shoestring_experiments::run::{Observer, StageProgress, StepProgress};

use crate::cli::LogFormat;
use crate::output::Printer;

/// Without a terminal, a line this often says that the run is alive.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// A bar with `length` steps of something, drawn only where bars may be.
pub(crate) fn bar(printer: Printer, length: u64, what: &str) -> ProgressBar {
    if !printer.bars() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length).with_message(what.to_owned());
    bar.set_style(style("{msg:<12} {bar:32} {pos}/{len} {eta_precise} left {prefix}"));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("█▉▊▋▌▍▎▏ ")
}

/// Says that a computation goes on: a bar on a terminal, elsewhere a line every few seconds, nothing when it is over
/// soon.
pub(crate) struct Waiting {
    bar: ProgressBar,
    // Dropping the sender ends the thread.
    stop: Option<mpsc::Sender<()>>,
}

impl Waiting {
    const PATIENCE: Duration = Duration::from_secs(2);

    pub(crate) fn start(printer: Printer, what: &'static str) -> Self {
        let bar = bar(printer, 1, what);
        let (stop, stopped) = mpsc::channel::<()>();
        let shown = bar.clone();
        std::thread::spawn(move || {
            let since = Instant::now();
            while stopped.recv_timeout(Self::PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                if printer.bars() {
                    shown.tick();
                } else {
                    let (done, all) = (shown.position(), shown.length().unwrap_or(1));
                    let of = if all > 1 { format!(", {done} of {all} fits") } else { String::new() };
                    printer.note(&format!("{what}: {} s{of}", since.elapsed().as_secs()));
                }
            }
        });
        Self { bar, stop: Some(stop) }
    }

    /// So much of it is done.
    pub(crate) fn at(&self, done: u64, all: u64) {
        self.bar.set_length(all);
        self.bar.set_position(done);
    }

    pub(crate) fn done(mut self) {
        self.stop = None;
        self.bar.finish_and_clear();
    }
}

/// Draws a run.
pub(crate) struct RunProgress {
    printer: Printer,
    bar: ProgressBar,
    format: LogFormat,
    stage: String,
    last_line: Instant,
}

impl RunProgress {
    pub(crate) fn new(printer: Printer, format: LogFormat) -> Self {
        Self { printer, bar: ProgressBar::hidden(), format, stage: String::new(), last_line: Instant::now() }
    }

    /// With `--log-format json` an event is a line of its own, and this says true.
    fn event(&self, name: &str, fields: serde_json::Value) -> bool {
        if self.format == LogFormat::Text {
            return false;
        }
        let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let mut event = serde_json::json!({"time": time, "event": name});
        if let (Some(event), serde_json::Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        self.printer.note(&event.to_string());
        true
    }

    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }

    /// A line that stays, above the bar.
    fn line(&self, text: &str) {
        if self.printer.bars() {
            self.bar.suspend(|| self.printer.note(text));
        } else {
            self.printer.note(text);
        }
    }
}

impl Observer for RunProgress {
    fn stage_started(&mut self, stage: &StageProgress<'_>) {
        self.bar.finish_and_clear();
        stage.name.clone_into(&mut self.stage);
        let fields = serde_json::json!({
            "stage": stage.name, "stage_index": stage.index, "stages": stage.stages,
            "image_size_px": stage.image_size_px, "image_tokens": stage.image_tokens,
            "text_tokens": stage.text_tokens, "batch": stage.batch, "stage_steps": stage.stage_steps,
        });
        if self.event("stage", fields) {
            return;
        }
        self.line(&format!(
            "stage {}/{} {}: {} px, {} image tokens, {} text tokens, batch {}, {} steps",
            stage.index + 1,
            stage.stages,
            stage.name,
            stage.image_size_px,
            stage.image_tokens,
            stage.text_tokens,
            stage.batch,
            stage.stage_steps,
        ));
        self.bar = bar(self.printer, stage.stage_steps, stage.name);
        self.bar.set_position(stage.stage_step);
        // The time left is that of this process's steps, not of those before a resume.
        self.bar.reset_eta();
    }

    fn step(&mut self, step: &StepProgress<'_>) {
        if self.format == LogFormat::Json {
            let last = step.stage_step == step.stage_steps;
            if last || self.last_line.elapsed() >= HEARTBEAT {
                self.last_line = Instant::now();
                let fields = serde_json::json!({
                    "stage": step.stage, "stage_step": step.stage_step, "stage_steps": step.stage_steps,
                    "step": step.step, "loss": step.loss, "samples_per_second": step.samples_per_second,
                    "spend_usd": step.spend_usd, "cap_usd": step.cap_usd,
                });
                self.event("step", fields);
            }
            return;
        }
        self.bar.set_position(step.stage_step);
        let facts = format!(
            "loss {:.3}, {:.0} samples/s, {:.5} of {} USD",
            step.loss, step.samples_per_second, step.spend_usd, step.cap_usd
        );
        if !self.printer.bars() && self.last_line.elapsed() >= HEARTBEAT {
            self.last_line = Instant::now();
            self.printer
                .note(&format!("{} step {}/{}: {facts}", self.stage, step.stage_step, step.stage_steps));
        }
        self.bar.set_prefix(facts);
    }

    fn evaluated(&mut self, line: &EvaluationLine) {
        let fields = serde_json::json!({
            "stage": line.stage, "step": line.step, "task": line.task, "classes": line.classes,
            "metrics": line.metrics, "spend_usd": line.spend_usd, "final": line.is_final,
        });
        if self.event("evaluation", fields) {
            return;
        }
        self.line(&format!(
            "{} step {}: zero-shot top-1 {:.1} % on {} classes (chance {:.1} %)",
            line.stage,
            line.step,
            100.0 * line.metrics.acc1,
            line.classes,
            100.0 / line.classes as f64
        ));
    }

    fn message(&mut self, text: &str) {
        if self.event("message", serde_json::json!({"text": text})) {
            return;
        }
        self.line(text);
    }
}
