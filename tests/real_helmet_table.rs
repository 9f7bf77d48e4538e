//! `retmask helmet table`: published numbers beside runs that asked in the benchmark's own words.

mod support;

use support::shared::shared;
use support::workspace::{Workspace, parse};

#[test]
#[ignore = "needs the shared HELMET templates; scripts/test runs it"]
fn published_numbers_stand_beside_the_benchmarks_wording() {
    let templates = shared("data/helmet/prompt_templates.json");
    let workspace = Workspace::new(&format!(
        "version: 1\nname: wording\nsources:\n  tiny: {{embedded: tiny}}\n  words: {{prompt-templates: {}}}\nstages:\n  \
         answers: {{kind: helmet, in: {{model: tiny, templates: words}}, with: {{length: 640, samples: 2}}}}\n  \
         scores: {{kind: helmet-score, in: {{predictions: answers}}}}\n",
        templates.display()
    ));
    workspace.succeeds(&["run", "pipeline.yaml"]);
    workspace.write(
        "published.json",
        r#"{"m": {"json_kv": {"640": 40}, "ruler_niah_mk_2": {"640": 60}, "ruler_niah_mk_3": {"640": 70}, "ruler_niah_mv": {"640": 30}}}"#,
    );
    let rows = parse(&workspace.succeeds(&["helmet", "table", "--published", "published.json", "--json"]).out);
    assert_eq!((&rows[0]["category"], &rows[0]["published"]), (&"Recall".into(), &50.0.into()));
    assert_eq!(rows[0]["systems"][0]["whole"], true);
}
