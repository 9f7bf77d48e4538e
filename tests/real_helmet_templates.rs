//! `retmask helmet templates` on a checkout of HELMET's repository.

mod support;

use serde_json::Value;
use support::shared::shared;
use support::workspace::Workspace;

#[test]
#[ignore = "needs a checkout of HELMET (RETMASK_HELMET) and its shared templates; scripts/test runs it"]
fn the_wording_of_the_checkout_is_the_benchmarks() {
    let checkout = std::env::var("RETMASK_HELMET").expect("RETMASK_HELMET names a checkout of HELMET");
    let run = Workspace::new("").succeeds(&["helmet", "templates", "--from", &checkout]);
    assert!(run.err.contains("the wording of all 21 datasets is that of the published numbers"), "{}", run.err);
    let found: Value = serde_json::from_str(&run.out).unwrap();
    let path = shared("data/helmet/prompt_templates.json");
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut parts = 0;
    for (dataset, found) in found.as_object().unwrap() {
        for (part, text) in found.as_object().unwrap() {
            assert_eq!(*text, expected[dataset][part], "{dataset} {part}");
            parts += 1;
        }
    }
    assert_eq!(parts, 108);
}
