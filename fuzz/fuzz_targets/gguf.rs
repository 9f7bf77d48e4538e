//! GGUF files.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use retmask_fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| Target::new(&[], "model.gguf"));

fuzz_target!(|content: &[u8]| TARGET.read("model.gguf", content));
