//! Models built into the program, so that it can show its work without a download.

/// A model built into the program.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedModel {
    /// The name a pipeline file calls it by.
    pub name: &'static str,
    /// The files of its folder: (name, bytes).
    pub files: &'static [(&'static str, &'static [u8])],
}

/// The files of a folder beside this crate's sources.
macro_rules! folder {
    ($folder:literal: $($file:literal),* $(,)?) => {
        &[$(($file, include_bytes!(concat!("../embedded/", $folder, "/", $file)))),*]
    };
}

/// Every model built in.
pub const MODELS: &[EmbeddedModel] = &[EmbeddedModel {
    // Made by pipelines/tiny-pretrain.yaml; docs/tiny-model.md says what it is.
    name: "tiny",
    files: folder!("tiny":
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ),
}];

/// The files of the built-in model of this name.
pub fn find(name: &str) -> Option<&'static [(&'static str, &'static [u8])]> {
    MODELS.iter().find(|model| model.name == name).map(|model| model.files)
}
