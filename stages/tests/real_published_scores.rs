//! The authors' published head scores: the masks and the sparsity the paper reports.

mod support;

use std::fs;
use std::sync::Arc;

use retmask_model::heads::Head;
use retmask_stages::artifact::{Media, mask, published_scores};
use retmask_stages::build_mask::{BuildMask, Parameters, Variant};
use retmask_stages::contract::{Cancel, Context, Inputs, Kind, Outputs, SilentProgress};
use retmask_stages::score_heads::gini;

/// File; layers, counted trials; tau, heads masked; Gini coefficient, to three places as published; best head.
type Published = (&'static str, (usize, usize), (f64, usize), f64, (Head, f64));

const PUBLISHED: [Published; 3] = [
    ("Llama-3.1-8B-Instruct", (32, 342), (0.1, 33), 0.935, (Head { layer: 15, head: 30 }, 0.9235)),
    ("Qwen3-8B", (36, 600), (0.05, 98), 0.902, (Head { layer: 22, head: 23 }, 0.9928)),
    ("Olmo-3-7B-Think", (32, 30), (0.05, 113), 0.850, (Head { layer: 19, head: 26 }, 0.6107)),
];

#[test]
#[ignore = "needs the published head scores; scripts/test runs it"]
fn published_scores_give_the_papers_masks_and_sparsity() {
    for (name, (layers, counted), (tau, heads), sparsity, (best, best_score)) in PUBLISHED {
        let path = support::shared(&format!("data/head_score/{name}.json"));
        let scores = published_scores::read(&path).unwrap();
        assert_eq!((scores.layers(), scores.heads_per_layer(), scores.counted()), (layers, 32, counted), "{name}");
        let means = scores.means();
        // Half of the last published place.
        assert!((gini(&means) - sparsity).abs() < 5e-4, "{name}: {}", gini(&means));
        let place = best.layer as usize * 32 + best.head as usize;
        assert!((means[place] - best_score).abs() < 5e-5, "{name}: {}", means[place]);
        assert!(means.iter().all(|mean| *mean <= means[place]), "{name}");

        let folder = tempfile::tempdir().unwrap();
        for variant in [Variant::Retrieval, Variant::Random, Variant::NonRetrieval] {
            let mut inputs = Inputs::default();
            inputs.insert("scores", "", Media::PublishedScores, &path);
            let outputs = Outputs::new(folder.path());
            let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder.path());
            BuildMask::run(&Parameters { tau, variant, ..Parameters::default() }, &inputs, &outputs, &context).unwrap();
            let mask = mask::read(&outputs.path("mask")).unwrap();
            assert_eq!(mask.len(), heads, "{name}");
            match variant {
                Variant::Retrieval => assert!(mask.contains(best), "{name}"),
                Variant::NonRetrieval => assert!(!mask.contains(best), "{name}"),
                Variant::Random => {}
            }
        }

        let copy = folder.path().join("copy.json");
        published_scores::write(&copy, &scores).unwrap();
        assert_eq!(fs::read(&copy).unwrap(), fs::read(&path).unwrap(), "{name}: writing is the inverse of reading");
    }
}
