//! Templates of released models (Llama 3 to 3.2, Qwen2.5, Qwen3 and others), rendered as transformers renders them. They
//! are their makers', so what is kept here is a digest of the texts.

#[path = "support/chats.rs"]
mod chats;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Deserialize)]
struct Released {
    template: String,
    blake3: String,
}

/// `RETMASK_CHAT_TEMPLATES`, or where `scripts/fetch-templates` puts them.
fn templates() -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/chat-templates");
    std::env::var_os("RETMASK_CHAT_TEMPLATES").map_or(data, PathBuf::from)
}

#[test]
#[ignore = "needs templates of released models; scripts/test runs it"]
fn templates_of_released_models_render_as_in_transformers() {
    let text = fs::read_to_string(chats::folder().join("released.json")).expect("released.json");
    let released: Vec<Released> = serde_json::from_str(&text).expect("digests");
    let differing: Vec<&str> = released
        .iter()
        .filter(|released| chats::digest(&templates().join(&released.template)) != released.blake3)
        .map(|released| released.template.as_str())
        .collect();
    // Nemotron 3 asks `tools is iterable` of none, which minijinja affirms and Jinja denies.
    let unexpected: Vec<&&str> = differing.iter().filter(|name| !name.starts_with("nemotron_3")).collect();
    assert!(unexpected.is_empty(), "{unexpected:?} render otherwise than in transformers");
    println!("{} templates, {} of them otherwise: {differing:?}", released.len(), differing.len());
    for family in ["llama3.jinja", "llama3_1.jinja", "llama3_2.jinja", "qwen2_5.jinja", "qwen3.jinja"] {
        assert!(released.iter().any(|released| released.template == family), "{family} is among them");
    }
}
