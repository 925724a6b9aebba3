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

#[test]
fn fewer_tokens_and_what_they_save_are_shown_and_wrong_numbers_refused() {
    let sandbox = Sandbox::new();
    let few = ["bench", "--shape", "tiny", "--seconds", "1", "--batch", "4", "--image-tokens", "4,1"];
    let said = sandbox.ok(&few);
    let rows = said.stdout.lines().filter(|line| line.starts_with("tiny-4") || line.starts_with("tiny-1"));
    assert_eq!(rows.count(), 4, "{}", said.stdout);
    assert!(said.stdout.contains("fewer FLOPs") && said.stdout.contains("1.00x"), "{}", said.stdout);
    let wrong = sandbox.run(&["bench", "--shape", "tiny", "--image-tokens", "10"]);
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("--image-tokens 10: not the square"), "{}", wrong.stderr);
    let wrong = sandbox.command(&few).env("SHOESTRING_KERNELS", "sse9").output().expect("it runs");
    let stderr = String::from_utf8_lossy(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("SHOESTRING_KERNELS is `sse9`") && stderr.contains("portable"), "{stderr}");
}
