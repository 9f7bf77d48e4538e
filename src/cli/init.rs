//! `retmask init`: a commented pipeline for a model.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use retmask_model::Numerics;
use retmask_model::checkpoint::Checkpoint;
use retmask_model::spec::Family;

use super::Settings;
use crate::error::{Error, Result};
use crate::hub::{Repository, RepositoryKind};

/// What `retmask init` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A GGUF file, a folder with config.json and safetensors, or a Hugging Face repository OWNER/NAME
    #[arg(value_name = "MODEL")]
    model: String,
    /// The file to write; one that is there is never written over [default: the model's name and `.yaml`]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// The pipeline, with what depends on the model between `@`.
const TEMPLATE: &str = include_str!("init.yaml");
/// Weights that take more than this in f32 are read in bf16.
const LARGE: u64 = 8 << 30;
/// The longest evaluation written down; longer ones take long and are asked for.
const LONGEST_EVALUATION: usize = 8192;
/// The paper's longest trial.
const LONGEST_TRIAL: usize = 5000;
/// Tokens of the window that a trial leaves to the question and the answer.
const ROOM: usize = 500;

/// Executes `retmask init`.
///
/// # Errors
/// `Input` when there is no such model, it is not supported, or the file is there; `Environment` when the file cannot be
/// written.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let facts = Facts::of(&arguments.model)?;
    let file = arguments.file.clone().unwrap_or_else(|| PathBuf::from(format!("{}.yaml", facts.name)));
    let text = facts.pipeline(&file);
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => Error::input(format!("{} is there already", file.display()))
            .with_hint("name another file: retmask init MODEL FILE"),
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Error::input(format!("cannot make {}: {error}", file.display()))
        }
        _ => Error::environment(format!("cannot write {}: {error}", file.display())),
    };
    let mut made = std::fs::File::create_new(&file).map_err(failed)?;
    if let Err(error) = made.write_all(text.as_bytes()) {
        // Half a file is of no use to anyone.
        let _ = std::fs::remove_file(&file);
        return Err(failed(error));
    }
    if settings.printer.json() {
        return settings.printer.data(&format!("{}\n", serde_json::json!({ "file": file, "name": facts.name })));
    }
    settings.printer.data(&format!("{}\n", file.display()))?;
    settings.printer.note(&format!("next: retmask plan {}", file.display()));
    Ok(())
}

/// What the pipeline says of the model.
struct Facts {
    /// The pipeline's name.
    name: String,
    title: String,
    /// The source's lines.
    source: String,
    family: Option<Family>,
    /// Positions.
    window: Option<usize>,
    large: bool,
}

impl Facts {
    fn of(model: &str) -> Result<Self> {
        let path = Path::new(model);
        if path.exists() {
            let checkpoint = Checkpoint::open(path)?;
            let spec = checkpoint.spec();
            let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
            let title = stem.map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
            return Ok(Self {
                name: name(&title),
                source: format!("  model: {{model: {}}}", quoted(model)),
                title,
                family: Some(spec.family),
                window: Some(spec.context_length),
                large: checkpoint.weight_bytes_in_memory(Numerics::F32).most > LARGE,
            });
        }
        let looks_like_a_path = model.starts_with(['.', '/', '~']) || model.matches('/').count() != 1;
        if looks_like_a_path || Repository::new(RepositoryKind::Model, model).is_err() {
            return Err(Error::input(format!("there is no model `{model}`")).with_hint(
                "a GGUF file, a folder with config.json and safetensors, or a Hugging Face repository OWNER/NAME",
            ));
        }
        let title = model.rsplit('/').next().unwrap_or(model).to_owned();
        let repository = quoted(model);
        let source = format!(
            "  # `retmask lock` pins the revision. Of a GGUF repository: files: [\"*Q4_K_M.gguf\"] behind the name.\n  \
             model: {{model: {{hf: {{repo: {repository}}}}}}}"
        );
        Ok(Self { name: name(&title), title, source, family: None, window: None, large: true })
    }

    fn pipeline(&self, file: &Path) -> String {
        let (tau, why) = match self.family {
            Some(Family::Qwen3 | Family::Olmo3) => ("0.05", "0.05 is the paper's value for Qwen3 and Olmo-3."),
            Some(Family::Llama) => ("0.1", "0.1 is the paper's value for Llama-3.1."),
            _ => ("0.1", "The paper takes 0.1 for Llama-3.1 and 0.05 for Qwen3 and Olmo-3."),
        };
        let window = self.window.unwrap_or(usize::MAX);
        let longest_trial = LONGEST_TRIAL.min(window.saturating_sub(ROOM).max(ROOM));
        // A power of two, as HELMET has them.
        let length = LONGEST_EVALUATION.min(1 << window.max(1024).ilog2().min(30));
        // The paper's 5e-7 is for models of 8B; small ones learn nothing from that.
        let (rate, floor) = if self.large { ("5.0e-7", "5.0e-8") } else { ("5.0e-6", "5.0e-7") };
        let numerics = if self.large { "bf16" } else { "f32" };
        [
            ("@NAME@", self.name.as_str()),
            ("@TITLE@", &self.title.replace(|character: char| !is_plain(character), "-")),
            ("@FILE@", &file.display().to_string().replace('\n', " ")),
            ("@SOURCE@", &self.source),
            ("@TAU-WHY@", why),
            ("@TAU@", tau),
            ("@LONGEST-TRIAL@", &longest_trial.to_string()),
            ("@LENGTH@", &length.to_string()),
            ("@NUMERICS@", numerics),
            ("@LEARNING-RATE@", rate),
            ("@LEARNING-RATE-FLOOR@", floor),
        ]
        .into_iter()
        .fold(TEMPLATE.to_owned(), |text, (mark, value)| text.replace(mark, value))
    }
}

/// Characters of a title that mean nothing to YAML, wherever they stand.
fn is_plain(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '.' | '_' | '-')
}

/// A pipeline's name made of a model's: `a-z`, `0-9` and `-`.
fn name(title: &str) -> String {
    let mut name = String::new();
    for character in title.to_lowercase().chars() {
        if character.is_ascii_lowercase() || character.is_ascii_digit() {
            name.push(character);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() { "model".to_owned() } else { name.to_owned() }
}

/// A text as YAML in double quotes, in which no reference is meant.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text.replace("${", "$${")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_become_names_of_pipelines() {
        let names = ["SmolLM2-135M-Instruct.Q4_1", "Llama-3.1-8B", "__", "Ü é1"].map(name);
        assert_eq!(names, ["smollm2-135m-instruct-q4-1", "llama-3-1-8b", "model", "1"]);
    }

    #[test]
    fn nothing_stays_between_marks() {
        let facts = Facts::of("owner/Name-1.5").unwrap();
        let text = facts.pipeline(Path::new("a.yaml"));
        assert!(!text.contains('@'), "{text}");
        assert!(text.contains("repo: \"owner/Name-1.5\""), "{text}");
    }
}
