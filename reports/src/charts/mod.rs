//! The report's charts. Each is laid out as a scene of lines and text, twice (wide, and narrow for phones), and
//! drawn by plotters as SVG and PNG.

mod accuracy_cost;
mod axis;
mod backtest;
mod choice;
mod frame;
mod labels;
mod law;
mod loss;
mod planned;
mod progress;
mod render;
mod scene;
mod spend;
mod text;

pub(crate) use self::accuracy_cost::affordable;
pub use self::choice::Choice;
use self::frame::Form;
pub(crate) use self::planned::signed_percent;
use self::scene::Scene;
use crate::read::RunRecord;
use crate::words::printable;
use crate::{BackTestChart, DropChart, Inputs, Picture, ReportError};

/// A chart, drawn.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// Name of its files, unique in the report.
    pub(crate) id: String,
    /// One or two sentences on what is to be seen.
    pub(crate) caption: String,
    /// What it says to somebody who cannot see it.
    pub(crate) alt: String,
    /// What the numbers and letters on it stand for.
    pub(crate) key: Vec<(String, String)>,
    /// The run that it is about; `None`: about several or none.
    pub(crate) run: Option<String>,
    /// 1200 px wide.
    pub(crate) svg: String,
    /// The same for narrow screens.
    pub(crate) narrow_svg: String,
    /// 1200 px wide.
    pub(crate) png: Vec<u8>,
}

/// A chart before it is drawn.
pub(super) struct Draft {
    id: String,
    caption: String,
    alt: String,
    key: Vec<(String, String)>,
    run: Option<String>,
    wide: Scene,
    narrow: Scene,
}

impl Draft {
    /// Lays a chart out in both forms.
    fn new(
        id: impl Into<String>,
        title: impl Into<String>,
        caption: impl Into<String>,
        mut lay_out: impl FnMut(Form, &str) -> Scene,
    ) -> Self {
        let title = printable(&title.into());
        let caption = printable(&caption.into());
        Self {
            id: id.into(),
            alt: format!("{title}. {caption}"),
            caption,
            key: Vec::new(),
            run: None,
            wide: lay_out(Form::Wide, &title),
            narrow: lay_out(Form::Narrow, &title),
        }
    }

    fn drawn(self) -> Result<Chart, ReportError> {
        let id = self.id.clone();
        let failed = |message| ReportError::Chart { chart: id.clone(), message };
        Ok(Chart {
            svg: render::svg(&self.wide, &self.alt).map_err(failed)?,
            narrow_svg: render::svg(&self.narrow, &self.alt).map_err(failed)?,
            png: render::png(&self.wide).map_err(failed)?,
            id: self.id,
            caption: self.caption,
            alt: self.alt,
            key: self.key,
            run: self.run,
        })
    }
}

/// All charts for which there is something to draw, in the order in which they are shown.
pub(crate) fn all(inputs: &Inputs, runs: &[RunRecord]) -> Result<Vec<Chart>, ReportError> {
    drafts(inputs, runs)?.into_iter().map(Draft::drawn).collect()
}

/// One chart by itself.
fn picture(draft: Draft) -> Result<Picture, ReportError> {
    let chart = draft.drawn()?;
    Ok(Picture { svg: chart.svg, png: chart.png })
}

/// The inverse scaling law as a chart, 1200 px wide.
///
/// # Errors
/// If plotters or the PNG encoder fail.
pub fn drop_picture(input: &DropChart) -> Result<Picture, ReportError> {
    registered()?;
    picture(law::chart(input))
}

/// The back-test as a chart, 1200 px wide.
///
/// # Errors
/// If plotters or the PNG encoder fail.
pub fn backtest_picture(input: &BackTestChart) -> Result<Picture, ReportError> {
    registered()?;
    picture(backtest::chart(input))
}

/// Text can only be measured once the face is known.
fn registered() -> Result<(), ReportError> {
    text::register().map_err(|message| ReportError::Chart { chart: "all".to_owned(), message })
}

fn drafts(inputs: &Inputs, runs: &[RunRecord]) -> Result<Vec<Draft>, ReportError> {
    registered()?;
    let mut drafts = Vec::new();
    drafts.extend(accuracy_cost::on_imagenet(inputs, runs));
    drafts.extend(accuracy_cost::on_own_data(runs));
    drafts.extend(progress::all(runs));
    for run in runs {
        let of_run = [spend::chart(run, &inputs.budgets), loss::chart(run), planned::chart(run)];
        drafts.extend(
            of_run.into_iter().flatten().map(|draft| Draft { run: Some(run.label.clone()), ..draft }),
        );
    }
    Ok(drafts)
}
#[cfg(test)]
mod tests;
