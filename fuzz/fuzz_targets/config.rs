//! Configurations of Hugging Face folders, with the weights of one family beside them, chosen by the first byte.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use retmask_fuzz::Target;

macro_rules! weights {
    ($($model:literal),*) => {
        [$(Target::new(
            &[(
                "model.safetensors",
                include_bytes!(concat!("../../model/tests/fixtures/families/", $model, "/model.safetensors")),
            )],
            "",
        )),*]
    };
}

static TARGETS: LazyLock<[Target; 5]> =
    LazyLock::new(|| weights!("llama", "mistral", "qwen2", "qwen3", "olmo2"));

fuzz_target!(|content: &[u8]| {
    if let Some((first, config)) = content.split_first() {
        TARGETS[*first as usize % TARGETS.len()].read("config.json", config);
    }
});
