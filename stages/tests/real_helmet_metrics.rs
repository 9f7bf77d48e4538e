//! The metrics against golden vectors made with the Python tools HELMET uses.

mod support;

use retmask_stages::helmet::category::CATEGORIES;
use retmask_stages::helmet_score::{ExampleScore, aggregate};
use retmask_stages::metrics::citations::{citations, list_scores, without_citations};
use retmask_stages::metrics::punkt::{self, Punkt};
use retmask_stages::metrics::ranking::{ndcg, parse_ranking};
use retmask_stages::metrics::{normalize, parse_output};
use serde_json::Value;
use support::{lines, shared, text};

#[test]
#[ignore = "needs the shared HELMET vectors; scripts/test runs it"]
fn normalisation_equals_the_reference() {
    let vectors = lines(&shared("data/helmet/golden/normalize_vectors.jsonl"));
    assert!(vectors.len() >= 12);
    for vector in vectors {
        assert_eq!(normalize(text(&vector, "in")), text(&vector, "out"), "{vector}");
    }
}

#[test]
#[ignore = "needs the shared HELMET vectors; scripts/test runs it"]
fn output_parsing_equals_the_reference() {
    let vectors = lines(&shared("data/helmet/golden/parse_output_vectors.jsonl"));
    assert_eq!(vectors.len(), 64);
    for vector in vectors {
        assert_eq!(parse_output(text(&vector, "output"), text(&vector, "prefix")), text(&vector, "parsed"), "{vector}");
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "needs the shared HELMET vectors; scripts/test runs it"]
fn rankings_equal_the_reference() {
    let vectors = lines(&shared("data/helmet/golden/rerank_vectors.jsonl"));
    assert_eq!(vectors.len(), 142);
    let mut values = 0;
    for vector in vectors {
        let ranking = parse_ranking(text(&vector, "output"));
        let expected = vector["parsed"].as_object().unwrap();
        assert_eq!(ranking.len(), expected.len(), "{vector}");
        let mut sorted: Vec<(&String, i64)> =
            expected.iter().map(|(id, score)| (id, score.as_i64().unwrap())).collect();
        sorted.sort_by_key(|(_, score)| -score);
        assert!(ranking.iter().eq(sorted.iter().map(|(id, _)| *id)), "{vector}");
        let judged: Vec<(String, u32)> = serde_json::from_value(vector["qrel"].clone()).unwrap();
        for (name, value) in vector["NDCG"].as_object().unwrap() {
            let depth = name.strip_prefix("NDCG@").unwrap().parse().unwrap();
            // Both are rounded to five decimals; 1e-9 leaves room for nothing else.
            assert!((ndcg(&ranking, &judged, depth) - value.as_f64().unwrap()).abs() < 1e-9, "{name} of {vector}");
            values += 1;
        }
    }
    assert!(values > 3 * 142, "{values}");
}

#[test]
#[ignore = "needs the shared HELMET vectors; scripts/test runs it"]
fn lists_and_citations_equal_the_reference() {
    let vectors = lines(&shared("data/helmet/golden/qampari_vectors.jsonl"));
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let plain = without_citations(text(&vector, "raw_output"));
        assert_eq!(plain, text(&vector, "after_remove_citations"));
        let golds: Vec<Vec<String>> = serde_json::from_value(vector["answers"].clone()).unwrap();
        let scores = list_scores(&plain, &golds);
        let expected = ["prec", "rec", "rec_top5"].map(|name| vector[name].as_f64().unwrap());
        for (value, expected) in [scores.precision, scores.recall, scores.recall_of_five].into_iter().zip(expected) {
            assert!((value - expected).abs() < 1e-9, "{vector}");
        }
    }
    let vectors = lines(&shared("data/helmet/golden/remove_citations_vectors.jsonl"));
    assert_eq!(vectors.len(), 10);
    for vector in vectors {
        assert_eq!(without_citations(text(&vector, "in")), text(&vector, "out"));
        let numbers: Vec<u64> = citations(text(&vector, "in")).into_iter().map(|number| number - 1).collect();
        assert_eq!(numbers, serde_json::from_value::<Vec<u64>>(vector["citation_ids_zero_based"].clone()).unwrap());
    }
}

#[test]
#[ignore = "needs the shared Punkt parameters and vectors; scripts/test runs it"]
fn sentences_equal_the_reference() {
    let folder = shared("data/helmet/punkt_tab_english");
    let texts = punkt::FILES.map(|file| std::fs::read_to_string(folder.join(file)).unwrap());
    let punkt = Punkt::from_texts([&texts[0], &texts[1], &texts[2], &texts[3]]).unwrap();
    let vectors = lines(&shared("data/helmet/golden/punkt_vectors.jsonl"));
    assert_eq!(vectors.len(), 27);
    for vector in vectors {
        assert_eq!(punkt.sentences(text(&vector, "text")), strings(&vector["sentences"]), "{vector}");
    }
}

/// The authors' name of a number of ours.
fn published_name(dataset: &str, metric: &str) -> String {
    match (dataset, metric) {
        ("narrativeqa", _) => "narrativeqa_gpt4_score".into(),
        ("infbench_qa_eng", _) => "infbench_qa_rougeL_f1".into(),
        ("infbench_choice_eng", _) => "infbench_choice_exact_match".into(),
        ("infbench_sum_eng", _) => "infbench_sum_gpt4_f1".into(),
        ("multi_lexsum", _) => "multi_lexsum_gpt4_f1".into(),
        ("msmarco_rerank_psg", metric) => format!("msmarco_{metric}"),
        ("alce_qampari", "qampari_rec_top5") => "alce_qampari_rec_top5".into(),
        (dataset, metric) if dataset.starts_with("alce_") => format!("{dataset}_{metric}"),
        (dataset, _) => dataset.into(),
    }
}

#[test]
#[ignore = "needs the published HELMET scores; scripts/test runs it"]
fn published_scores_of_datasets_give_the_published_averages() {
    let folder = shared("data/helmet/helmet_published");
    let scores: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("llama-3.1-8b_per_dataset.json")).unwrap()).unwrap();
    let table = std::fs::read_to_string(folder.join("agg_results_128k_2025-04-10.csv")).unwrap();
    let header: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    let models = [("Llama-3.1-8B-Instruct", "Llama-3.1-8B-Inst"), ("Llama-3.1-8B (base, non-chat)", "Llama-3.1-8B")];
    for (model, row) in models {
        let row: Vec<&str> =
            table.lines().map(|line| line.split(',').collect::<Vec<_>>()).find(|cells| cells[0] == row).unwrap();
        let one = |dataset: &str, metric: &'static str| {
            let value = scores[model][published_name(dataset, metric)]["131072"].as_f64();
            ExampleScore {
                dataset: dataset.into(),
                length: 131_072,
                example: 0,
                cluster: "all".into(),
                metric,
                value: value.unwrap_or_else(|| panic!("{model} has no {dataset} {metric}")) / 100.0,
            }
        };
        let measures = CATEGORIES.iter().flat_map(|category| category.measures);
        let examples: Vec<ExampleScore> = measures.map(|&(dataset, metric)| one(dataset, metric)).collect();
        let means: Vec<_> = aggregate(&examples, 2_000, 42).into_iter().filter(|row| row.dataset.is_empty()).collect();
        assert_eq!(means.len(), 8);
        for mean in means {
            let column = header.iter().position(|name| *name == mean.category).unwrap();
            let published: f64 = row[column].parse().unwrap();
            // The table has one decimal.
            let difference = (mean.interval.value - published).abs();
            assert!(
                difference <= 0.05 + 1e-9,
                "{model}, {}: {} against {published}",
                mean.category,
                mean.interval.value
            );
        }
    }
}
