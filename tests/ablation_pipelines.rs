//! The ablation pipelines of `pipelines/`: the paper's variants are there, each reads its own pairs, and what they
//! share stands there once.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// The stages of a pipeline by name, as `graph --json` gives them.
fn stages(file: &str) -> BTreeMap<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(file);
    let output = support::program().args(["graph", "--json"]).arg(path).output().expect("the program starts");
    assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    let graph: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let stages = graph["stages"].as_array().expect("stages").iter();
    stages.map(|stage| (stage["name"].as_str().expect("a name").to_owned(), stage.clone())).collect()
}

/// What a stage reads at a port, as `STAGE` or `STAGE.PORT`.
fn reads(stages: &BTreeMap<String, Value>, stage: &str, port: &str) -> Vec<String> {
    let inputs = stages[stage]["inputs"].as_array().expect("inputs").iter();
    let inputs = inputs.filter(|input| input["port"] == port);
    inputs.map(|input| input["from"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn the_papers_variants_are_declared_over_one_scoring_stage() {
    // File, the stage that scores a trained model, and the other axis it has.
    for (file, score, axis) in [
        ("quickstart-ablations.yaml", "trained", ""),
        ("smollm2-ablations.yaml", "trained", ""),
        ("llama-ablations.yaml", "score-trained", "length=128k,"),
    ] {
        let stages = stages(file);
        let masks: Vec<&String> = stages.keys().filter(|name| name.starts_with("mask[")).collect();
        for mask in &masks {
            assert_eq!(reads(&stages, mask, "scores"), ["scores"], "{file}: {mask}");
        }
        let parameter = |mask: &str, name: &str| stages[&format!("mask[mask={mask}]")]["parameters"][name].clone();
        assert_eq!(parameter("retmask", "variant"), "retrieval", "{file}");
        assert_eq!(parameter("non-retrieval", "variant"), "non-retrieval", "{file}");
        let mut seeds: Vec<Value> = ["random-1", "random-2", "random-3"].map(|mask| parameter(mask, "seed")).to_vec();
        seeds.dedup();
        assert_eq!(seeds.len(), 3, "{file}: every random mask has a seed of its own");
        for mask in ["random-1", "random-2", "random-3", "non-retrieval"] {
            assert_eq!(parameter(mask, "tau"), parameter("retmask", "tau"), "{file}: as many heads as RetMask");
        }
        let swept = |select: &str, of: &str| {
            let values = masks.iter().map(|mask| &stages[*mask]["parameters"]).filter(|with| with["select"] == select);
            let mut values: Vec<String> = values.map(|with| with[of].to_string()).collect();
            values.sort();
            values.dedup();
            values.len()
        };
        assert!(swept("threshold", "tau") >= 3 && swept("top-k", "count") >= 3, "{file}: both are swept");
        let subset = &stages["subset-pairs"]["parameters"];
        assert_eq!(subset["subset"], "random", "{file}: RetMask* takes a seeded draw");
        let all = &stages["pairs[mask=retmask]"]["parameters"];
        for (name, value) in subset.as_object().expect("parameters") {
            assert!(["limit", "subset"].contains(&name.as_str()) || all[name] == *value, "{file}: {name}");
        }
        // Every mask is trained on, and every trained model is evaluated and reported.
        let trained: Vec<&str> =
            stages.keys().filter_map(|name| name.strip_prefix("dpo[training=")?.strip_suffix(']')).collect();
        // Besides the masks: RetMask*, Smaller-Model, Win-Lose-Pair (where a judge can be had), and ready-made pairs.
        let judged = stages.contains_key("win-lose-pairs");
        assert_eq!(judged, !file.starts_with("quickstart"), "{file}");
        let ready_made = usize::from(file.starts_with("llama"));
        assert_eq!(trained.len(), masks.len() + 2 + usize::from(judged) + ready_made, "{file}");
        if judged {
            let mut win_lose = stages["win-lose-pairs"]["parameters"].clone();
            assert_eq!(win_lose["judge"]["responses"], 2, "{file}");
            assert!(win_lose["judge"].get("base-url").is_none(), "{file}: where the judge is decides nothing");
            win_lose["judge"] = Value::Null;
            assert_eq!(win_lose, *all, "{file}: the answers of Win-Lose-Pair are drawn like those of RetMask");
            for port in ["mask", "rejected-model"] {
                assert_eq!(reads(&stages, "win-lose-pairs", port), Vec::<String>::new(), "{file}");
            }
        }
        let smaller = &stages["smaller-pairs"]["parameters"];
        assert_eq!(smaller, all, "{file}: the chosen side of Smaller-Model is that of RetMask");
        assert_eq!(reads(&stages, "smaller-pairs", "rejected-model"), ["smaller"], "{file}");
        assert_eq!(reads(&stages, "smaller-pairs", "mask"), Vec::<String>::new(), "{file}");
        let reported = reads(&stages, "report", "evaluation");
        for training in trained {
            let pairs = match training {
                "retmask-subset" => "subset-pairs".to_owned(),
                "smaller-model" => "smaller-pairs".to_owned(),
                "win-lose" => "win-lose-pairs".to_owned(),
                "longreward" => training.to_owned(),
                mask => format!("pairs[mask={mask}]"),
            };
            let at = |stage: &str| format!("{stage}[training={training}]");
            assert_eq!(reads(&stages, &at("dpo"), "pairs"), std::slice::from_ref(&pairs), "{file}");
            assert_eq!(reads(&stages, &at("reference"), "pairs"), [pairs], "{file}");
            assert_eq!(reads(&stages, &at("dpo"), "reference"), [at("reference")], "{file}");
            assert_eq!(reads(&stages, &at("trained-scores"), "model"), [at("dpo")], "{file}");
            assert!(
                reported.contains(&format!("{score}[{axis}training={training}]")),
                "{file}: {training} is not reported"
            );
        }
        for shared in ["scores", "report"] {
            assert!(stages.contains_key(shared), "{file}: {shared}");
        }
    }
}
