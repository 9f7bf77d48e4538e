//! The metrics against golden vectors made with the Python tools HELMET uses.

mod support;

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
