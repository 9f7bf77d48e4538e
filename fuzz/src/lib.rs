//! What the fuzz targets share: a model under attack, and everything that reads it.

use std::fs;
use std::path::{Path, PathBuf};

use retmask_model::checkpoint::Checkpoint;
use retmask_model::{Fault, ModelResult};
use tempfile::TempDir;

/// A model in a folder of its own, one file of which is replaced for every input.
pub struct Target {
    folder: TempDir,
    /// What is opened.
    model: PathBuf,
}

impl Target {
    /// A folder with these files in it; `model` is the name of the file that is opened, or empty for the folder.
    pub fn new(files: &[(&str, &[u8])], model: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).expect("written");
        }
        let model = folder.path().join(model);
        Self { folder, model }
    }

    /// Reads the model with this content in the file `name`.
    pub fn read(&self, name: &str, content: &[u8]) {
        fs::write(self.folder.path().join(name), content).expect("written");
        if let Err(error) = read_everything(&self.model) {
            // Whatever the bytes are, they are the input's fault.
            assert_eq!(error.fault, Fault::Input, "{}", error.message);
            assert!(!error.message.is_empty());
        }
    }
}

fn read_everything(path: &Path) -> ModelResult<()> {
    let checkpoint = Checkpoint::open(path)?;
    let storage = checkpoint.storage()?;
    for tensor in checkpoint.spec().tensors() {
        let values = checkpoint.tensor(&tensor.name, &tensor.shape)?;
        assert_eq!(values.len(), tensor.values());
    }
    if storage.has_tokenizer {
        let codec = checkpoint.text_codec()?;
        let ids = codec.encode("a b", true)?;
        codec.decode(&ids, true)?;
    }
    Ok(())
}
