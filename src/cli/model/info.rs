//! `retmask model info`: what a model is. Needs its configuration and weight headers only.

use std::fmt::Write;

use anstyle::Style;
use retmask_model::Numerics;
use retmask_model::checkpoint::StorageSummary;
use retmask_model::spec::{AttentionSpan, ModelSpec, NormPlacement, QueryKeyNorm, RotaryScaling, RotarySpec};
use serde_json::{Value, json};

use super::argument::ModelArgument;
use super::fits;
use crate::cli::Settings;
use crate::error::Result;

/// What `retmask model info` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArgument,
    /// The class of arithmetic that the model would run in
    #[arg(long, value_name = "CLASS", default_value_t)]
    numerics: Numerics,
    /// Memory to say what fits into, e.g. 24GB
    #[arg(long, value_name = "SIZE", value_parser = crate::sizes::parse)]
    memory: Option<u64>,
}

/// Executes `retmask model info`.
///
/// # Errors
/// `Input` when the model is not one, or not supported.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let model = arguments.model.open(settings)?;
    let checkpoint = &model.checkpoint;
    let (spec, storage) = (checkpoint.spec(), checkpoint.storage()?);
    let weights = checkpoint.weight_bytes_in_memory(arguments.numerics);
    let fits = fits::fits(spec, arguments.numerics, weights.most, arguments.memory);
    let text = if settings.printer.json() {
        let mut object = object(spec, &storage);
        object["weight_bytes_in_memory"] = json!(weights.most);
        object["usual_weight_bytes_in_memory"] = json!(weights.usual);
        object["numerics"] = json!(arguments.numerics.to_string());
        object["memory_bytes"] = json!(arguments.memory);
        object["fits"] = fits::objects(&fits).into();
        format!("{object:#}\n")
    } else {
        let mut rows = rows(spec, &storage);
        let memory = match size(weights.most) {
            most if weights.usual == weights.most => most,
            most => format!("usually {}, at most {most}", size(weights.usual)),
        };
        let memory = format!("{memory} (class {})", arguments.numerics);
        rows.insert(rows.len() - 3, ("weights in memory", memory));
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in rows {
            let name = settings.printer.paint(Style::new().bold(), &format!("{name:width$}"));
            let _ = writeln!(text, "{name}  {value}");
        }
        text.push('\n');
        text.push_str(&fits::table(&fits, arguments.memory, settings.printer));
        text
    };
    settings.printer.data(&text)
}

fn rows(spec: &ModelSpec, storage: &StorageSummary) -> Vec<(&'static str, String)> {
    let types: Vec<String> = storage
        .element_types
        .iter()
        .map(|(kind, (tensors, bytes))| format!("{} ({}, {})", kind.name(), counted(*tensors, "tensor"), size(*bytes)))
        .collect();
    let present = |there: bool| if there { "yes" } else { "no" }.to_owned();
    vec![
        ("family", spec.family.to_string()),
        ("parameters", grouped(spec.parameters())),
        ("layers", spec.layers.len().to_string()),
        ("attention heads", format!("{} per layer, {} in all", spec.query_heads, spec.query_heads * spec.layers.len())),
        ("key-value heads", format!("{} per layer", spec.key_value_heads)),
        ("head dimension", spec.head_dim.to_string()),
        ("hidden size", spec.hidden_size.to_string()),
        ("intermediate size", spec.intermediate_size.to_string()),
        ("vocabulary", grouped(spec.vocabulary_size as u64)),
        ("tied embeddings", present(spec.tied_embeddings)),
        ("context", format!("{} tokens", grouped(spec.context_length as u64))),
        ("attention", attention(spec)),
        ("rotary", spec.rotary.iter().map(rotary).collect::<Vec<_>>().join("; ")),
        ("norms", norms(spec)),
        ("file", format!("{}, {}, {}", storage.format, counted(storage.files, "file"), size(storage.file_bytes))),
        ("types in file", types.join(", ")),
        ("keys and values", {
            let of = |numerics| size(spec.key_value_bytes_per_token(numerics) as u64);
            format!("{} per token in f32, {} in bf16", of(Numerics::F32), of(Numerics::Bf16))
        }),
        ("tokenizer", present(storage.has_tokenizer)),
        ("chat template", present(storage.has_chat_template)),
    ]
}

fn attention(spec: &ModelSpec) -> String {
    let full = spec.layers.iter().filter(|layer| layer.span == AttentionSpan::Full).count();
    let mut windows: Vec<usize> = spec
        .layers
        .iter()
        .filter_map(|layer| match layer.span {
            AttentionSpan::Full => None,
            AttentionSpan::Window(window) => Some(window),
        })
        .collect();
    windows.sort_unstable();
    windows.dedup();
    if windows.is_empty() {
        return "full in every layer".into();
    }
    let windows: Vec<String> = windows.iter().map(ToString::to_string).collect();
    format!("full in {full} layers, windows of {} in {}", windows.join(", "), spec.layers.len() - full)
}

fn rotary(rotary: &RotarySpec) -> String {
    let base = format!("base {}", rotary.theta);
    match &rotary.scaling {
        RotaryScaling::None => base,
        RotaryScaling::Linear { factor } => format!("{base}, linear scaling by {factor}"),
        RotaryScaling::Divisors(_) => format!("{base}, frequencies divided by a table"),
        RotaryScaling::Llama3 { factor, original_context, .. } => {
            format!("{base}, llama3 scaling by {factor} from {original_context} tokens")
        }
        RotaryScaling::Yarn { factor, original_context, .. } => {
            format!("{base}, YaRN scaling by {factor} from {original_context} tokens")
        }
    }
}

fn norms(spec: &ModelSpec) -> String {
    let placement = match spec.norm_placement {
        NormPlacement::Pre => "before attention and MLP",
        NormPlacement::Post => "after attention and MLP",
    };
    let query_key = match spec.query_key_norm {
        QueryKeyNorm::None => "",
        QueryKeyNorm::PerHead => ", queries and keys per head",
        QueryKeyNorm::FullWidth => ", queries and keys over all heads",
    };
    format!("{placement}{query_key}, epsilon {:e}", spec.norm_epsilon as f32)
}

fn object(spec: &ModelSpec, storage: &StorageSummary) -> Value {
    let types: serde_json::Map<String, Value> = storage
        .element_types
        .iter()
        .map(|(kind, (tensors, bytes))| (kind.name().to_owned(), json!({ "tensors": tensors, "bytes": bytes })))
        .collect();
    json!({
        "family": spec.family.name(),
        "parameters": spec.parameters(),
        "layers": spec.layers.len(),
        "attention_heads": spec.query_heads,
        "key_value_heads": spec.key_value_heads,
        "head_dim": spec.head_dim,
        "hidden_size": spec.hidden_size,
        "intermediate_size": spec.intermediate_size,
        "vocabulary_size": spec.vocabulary_size,
        "tied_embeddings": spec.tied_embeddings,
        "context_length": spec.context_length,
        "rope_theta": spec.rotary.iter().map(|rotary| rotary.theta).collect::<Vec<_>>(),
        "norm_epsilon": spec.norm_epsilon,
        "format": storage.format,
        "files": storage.files,
        "file_bytes": storage.file_bytes,
        "element_types": types,
        "key_value_bytes_per_token": spec.key_value_bytes_per_token(Numerics::F32),
        "key_value_bytes_per_token_bf16": spec.key_value_bytes_per_token(Numerics::Bf16),
        "tokenizer": storage.has_tokenizer,
        "chat_template": storage.has_chat_template,
    })
}

/// `1 tensor`, `2 tensors`.
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("{count} {noun}") } else { format!("{count} {noun}s") }
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the largest binary unit that leaves at least one.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for larger in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "bytes" { format!("{bytes} {unit}") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_get_units() {
        assert_eq!(
            ["7", "1,234", "134,515,008"],
            [grouped(7), grouped(1234), grouped(134_515_008)].each_ref().map(String::as_str)
        );
        assert_eq!(
            ["512 bytes", "1.0 KiB", "93.8 MiB"],
            [size(512), size(1024), size(98_362_432)].each_ref().map(String::as_str)
        );
    }
}
