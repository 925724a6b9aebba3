#![allow(clippy::unwrap_used)]
use crate::fixture::*;
#[test]
fn preview() {
    let tmp = tempfile::tempdir().unwrap();
    let mut a = Sample::new("demo");
    a.steps = [900, 300];
    a.cap = 0.4;
    let mut b = Sample::new("a second run with a much longer name than anyone expects it to have <b>&");
    b.planned = false;
    b.cut_off = true;
    b.accuracy = 0.2;
    let mut c = Sample::new("grant");
    c.usd_per_hour = 12.6 * 200.0;
    c.cap = 900.0;
    c.dataset = "imagenet1k".into();
    c.classes = 1000;
    c.accuracy = 0.62;
    c.steps = [90, 30];
    let out = std::path::PathBuf::from("/tmp/preview");
    let t = std::time::Instant::now();
    let many: Vec<_> = (0..8)
        .map(|i| {
            let mut s = Sample::new(&format!("sweep-{i}"));
            s.accuracy = 0.1 + 0.07 * f64::from(i);
            s.steps = [30 + 5 * i as u64, 10];
            s.write(tmp.path())
        })
        .collect();
    let mut inputs = planned_inputs();
    crate::Report::build(&inputs).unwrap().write(&out.join("none")).unwrap();
    inputs.runs = vec![a.write(tmp.path())];
    let r = crate::Report::build(&inputs).unwrap();
    r.write(&out.join("one")).unwrap();
    inputs.runs = vec![a.write(&tmp.path().join("x")), b.write(tmp.path()), c.write(tmp.path())];
    crate::Report::build(&inputs).unwrap().write(&out.join("three")).unwrap();
    inputs.runs = many;
    crate::Report::build(&inputs).unwrap().write(&out.join("many")).unwrap();
    eprintln!("{:?}", t.elapsed());
}
