//! The metrics against golden vectors made with the Python tools HELMET uses.

mod support;

use retmask_stages::metrics::{normalize, parse_output};
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
