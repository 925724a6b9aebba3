//! `bench`: what it prints. How fast is never asserted.

use crate::harness::Sandbox;

#[test]
fn a_shape_and_a_recipe_are_timed() {
    let sandbox = Sandbox::new();
    let said =
        sandbox.ok(&["bench", "--shape", "tiny", "--seconds", "1", "--microbatch", "32", "--format", "json"]);
    let object: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(object["schema"], "shoestring.bench");
    let row = &object["shapes"][0];
    assert_eq!(row["shape"], "tiny");
    let number = |key: &str| row[key].as_f64().expect(key);
    assert!(number("samples_per_second") > 0.0 && number("peak_flops_per_second") > 0.0);
    let flops = number("step_flops") * number("samples_per_second") / number("batch_samples");
    assert!((flops / number("flops_per_second") - 1.0).abs() < 1e-9);
    let wrong = sandbox.run(&["bench", "--like", "nowhere.toml"]);
    assert_eq!(wrong.code, 1, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("nowhere.toml"));
}
