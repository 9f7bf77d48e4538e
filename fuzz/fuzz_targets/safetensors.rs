//! Weights of a Hugging Face folder: an input that starts with `{` is an index beside its shards, any other a single
//! file.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use retmask_fuzz::Target;

macro_rules! fixture {
    ($path:literal) => {
        include_bytes!(concat!("../../model/tests/fixtures/families/", $path))
    };
}

static SINGLE: LazyLock<Target> = LazyLock::new(|| Target::new(&[("config.json", fixture!("llama/config.json"))], ""));
static SHARDED: LazyLock<Target> = LazyLock::new(|| {
    let files: [(&str, &[u8]); 3] = [
        ("config.json", fixture!("llama3/config.json")),
        ("model-00001-of-00002.safetensors", fixture!("llama3/model-00001-of-00002.safetensors")),
        ("model-00002-of-00002.safetensors", fixture!("llama3/model-00002-of-00002.safetensors")),
    ];
    Target::new(&files, "")
});

fuzz_target!(|content: &[u8]| {
    match content {
        [b'{', ..] => SHARDED.read("model.safetensors.index.json", content),
        _ => SINGLE.read("model.safetensors", content),
    }
});
