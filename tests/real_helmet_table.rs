//! `retmask helmet table`: published numbers beside runs that asked in the benchmark's own words.

mod support;

use support::shared::shared;
use support::workspace::{Workspace, parse};

#[test]
#[ignore = "needs the shared HELMET templates; scripts/test runs it"]
fn published_numbers_stand_beside_the_benchmarks_wording() {
    let (templates, data) = (shared("data/helmet/prompt_templates.json"), shared("data/helmet"));
    let workspace = Workspace::new(&format!(
        "version: 1\nname: wording\nsources:\n  tiny: {{embedded: tiny}}\n  words: {{prompt-templates: {}}}\n  \
         data: {{helmet-data: {}}}\nstages:\n  answers:\n    kind: helmet\n    \
         in: {{model: tiny, templates: words, data: data}}\n    \
         with: {{length: 640, samples: 2, datasets: [json_kv, icl_trec_coarse]}}\n  \
         scores: {{kind: helmet-score, in: {{predictions: answers}}}}\n",
        templates.display(),
        data.display()
    ));
    workspace.succeeds(&["run", "pipeline.yaml"]);
    workspace.write("published.json", r#"{"m": {"json_kv": {"640": 40}, "icl_trec_coarse": {"640": 30}}}"#);
    let asked = ["helmet", "table", "--published", "published.json", "--datasets", "--json"];
    let rows = parse(&workspace.succeeds(&asked).out);
    let published = |dataset: &str| {
        let row = rows.iter().find(|row| row["dataset"] == dataset).expect("a row");
        assert_eq!(row["systems"][0]["whole"], true, "{row}");
        row["published"].clone()
    };
    // The benchmark's records, and records made for this model.
    assert_eq!(published("icl_trec_coarse"), 30.0);
    assert_eq!(published("json_kv"), "generated records");
}
