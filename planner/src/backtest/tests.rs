//! The back-test's own figures.
use super::*;
use crate::law::fit::mean_absolute;
use crate::law::inverse::Ablation;
use crate::published;

#[test]
fn tmp_print() {
    for row in hours::hours() {
        println!(
            "{:45} {:10.0} {:8.0} {:8.0} {:8.0} {:6.1}% {} arch {:8.0} paper {:8.0}",
            row.id,
            row.reported.0,
            row.predicted.p10.0,
            row.predicted.p50.0,
            row.predicted.p90.0,
            row.error_percent(),
            row.hit(),
            row.architecture_left_out.0,
            row.paper_left_out.0
        );
    }
    let all = hours::hours();
    for paper in ["CLIPA-v2", "CLIPA (", "LAION"] {
        let rows: Vec<_> = all.iter().filter(|row| row.paper.starts_with(paper)).collect();
        println!(
            "{paper} {:?} arch {:?} paper {:?}",
            hours::score(rows.iter().copied()),
            hours::score_without(rows.iter().copied(), |row| row.architecture_left_out),
            hours::score_without(rows.iter().copied(), |row| row.paper_left_out)
        );
    }
    for ablation in Ablation::all() {
        let points = ablation.back_test(published::runs()).expect("fits");
        println!(
            "{:30} {} in {:.3} loo {:.3} size {:.3}",
            ablation.name(),
            points.len(),
            mean_absolute(points.iter().map(|p| p.fitted - p.reported)),
            mean_absolute(points.iter().map(|p| p.left_out - p.reported)),
            mean_absolute(points.iter().map(|p| p.size_left_out - p.reported))
        );
    }
}
