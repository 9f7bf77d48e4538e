//! The files of every family: both spellings of a configuration, what is written from a model, and GGUF.

#[path = "support/families.rs"]
mod families;
mod support;

use std::fs;
use std::path::Path;

use families::{Inputs, LOGPROB_TOLERANCE, Model, largest_difference};
use retmask_model::Numerics;
use retmask_model::checkpoint::{self, Checkpoint, StoredType};
use retmask_model::decoder::{Decoder, Purpose};
use retmask_model::logprobs::token_logprobs;
use retmask_model::spec::{AttentionSpan, Family, ModelSpec, RotaryScaling, TensorShape, Yarn};
use serde_json::{Map, Value, json};
use support::{edit_config, refusal};

/// A copy of a model whose config.json is changed.
fn changed(name: &str, edit: impl FnOnce(&mut Map<String, Value>)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(families::folder().join(name)).expect("a model") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, copy.path().join(path.file_name().expect("a name"))).expect("copied");
        }
    }
    edit_config(copy.path(), edit);
    copy
}

fn spec_of(folder: &Path) -> ModelSpec {
    Checkpoint::open(folder).unwrap_or_else(|error| panic!("{error}")).spec().clone()
}

fn spec_with(name: &str, edit: impl FnOnce(&mut Map<String, Value>)) -> ModelSpec {
    spec_of(changed(name, edit).path())
}

#[test]
fn what_is_written_reads_back_as_the_same_model() {
    for model in Model::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut values = |tensor: &TensorShape| model.checkpoint.tensor(&tensor.name, &tensor.shape);
        checkpoint::write(folder.path(), model.spec(), StoredType::F32, &mut values, None).expect("written");
        assert_eq!(&spec_of(folder.path()), model.spec(), "{}", model.name);
    }
}

#[test]
fn one_rotary_table_for_all_layers_is_a_switch() {
    let expected = Model::named("olmo3-one-table").spec().clone();
    assert_eq!(expected.rotary.len(), 1);
    let older = |switch: Option<bool>| {
        spec_with("olmo3-one-table", |config| {
            config.remove("rope_parameters");
            config.insert("rope_theta".into(), json!(100.0));
            let scaling = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
            config.insert("rope_scaling".into(), scaling);
            if let Some(switch) = switch {
                config.insert("rope_by_layer_type".into(), json!(switch));
            }
        })
    };
    assert_eq!(older(Some(false)), expected);
    let by_layer_type = older(None);
    assert_eq!(by_layer_type, older(Some(true)));
    assert_eq!(by_layer_type.rotary.len(), 2);
    for layer in &by_layer_type.layers {
        let scaled = by_layer_type.rotary[layer.rotary].scaling != RotaryScaling::None;
        assert_eq!(scaled, layer.span == AttentionSpan::Full);
    }
    // The flat form of `rope_parameters` reads as the older spelling does.
    let flat = |switch: bool| {
        spec_with("olmo3-one-table", |config| {
            let parameters = config["rope_parameters"]["full_attention"].clone();
            config.insert("rope_parameters".into(), parameters);
            config.insert("rope_by_layer_type".into(), json!(switch));
        })
    };
    assert_eq!(flat(false), expected);
    assert_eq!(flat(true), by_layer_type);
}

#[test]
fn olmo3_windows_come_from_layer_types_a_pattern_or_the_default() {
    let spans = |edit: &dyn Fn(&mut Map<String, Value>)| -> String {
        let spec = spec_with("olmo3", |config| edit(config));
        spec.layers.iter().map(|layer| if layer.span == AttentionSpan::Full { 'f' } else { 's' }).collect()
    };
    assert_eq!(spans(&|_| ()), "sssf");
    assert_eq!(spans(&|config| drop(config.insert("sliding_window_pattern".into(), json!(2)))), "sfsf");
    let types = json!(["full_attention", "sliding_attention", "sliding_attention", "full_attention"]);
    assert_eq!(spans(&|config| drop(config.insert("layer_types".into(), types.clone()))), "fssf");
}

#[test]
fn qwen_windows_begin_where_the_configuration_says() {
    let spec = Model::named("qwen2-window-yarn").spec().clone();
    let expected = [AttentionSpan::Full, AttentionSpan::Window(24), AttentionSpan::Window(24)];
    assert!(spec.layers.iter().map(|layer| layer.span).eq(expected));
    // A window that is stated but not used is none.
    assert!(Model::named("qwen2").spec().layers.iter().all(|layer| layer.span == AttentionSpan::Full));
}

#[test]
fn configurations_that_contradict_themselves_or_the_tensors_are_refused() {
    let yarn = |edit: &dyn Fn(&mut Map<String, Value>)| {
        let mut settings = Map::new();
        settings.insert("rope_type".into(), json!("yarn"));
        settings.insert("factor".into(), json!(4.0));
        edit(&mut settings);
        Value::Object(settings)
    };
    let cases: Vec<(&str, &str, Value, &str)> = vec![
        ("qwen2", "model_type", json!("qwen2_moe"), "`model_type` is `qwen2_moe`, which is not supported"),
        ("qwen2", "model_type", json!("llama"), "`sliding_window` is 32, but `llama` models have no windows"),
        ("llama", "model_type", json!("qwen2"), "`model.layers.0.self_attn.q_proj.bias` of shape [24] is missing"),
        ("qwen3", "head_dim", json!(6), "has the shape [32, 24], but the configuration asks for [24, 24]"),
        ("qwen3", "num_key_value_heads", json!(2), "has the shape [8, 24], but the configuration asks for [16, 24]"),
        ("qwen3", "attention_bias", json!(true), "`model.layers.0.self_attn.q_proj.bias` of shape [32] is missing"),
        ("llama3", "mlp_bias", json!(false), "mlp.down_proj.bias` is not part of a llama model"),
        ("olmo2", "model_type", json!("llama"), "`model.layers.0.input_layernorm.weight` of shape [24] is missing"),
        ("olmo2", "sliding_window", json!(9), "`olmo2` models have no windows"),
        ("olmo3", "sliding_window", Value::Null, "`sliding_window` is null"),
        ("olmo3", "sliding_window", json!(0), "`sliding_window` is 0"),
        ("olmo3", "sliding_window_pattern", json!(0), "`sliding_window_pattern` is 0"),
        ("olmo3", "layer_types", json!(["full_attention"]), "`layer_types` lists 1 layers"),
        ("olmo3", "layer_types", json!(["full_attention", "x", "x", "x"]), "`layer_types` names `x`"),
        ("olmo3", "layer_types", json!("full_attention"), "`layer_types` should be a list of strings"),
        ("olmo3", "rope_scaling", yarn(&|s| drop(s.insert("extra".into(), json!(1)))), "`rope_scaling.extra` is not a"),
        (
            "olmo3",
            "rope_scaling",
            yarn(&|s| drop(s.insert("type".into(), json!("linear")))),
            "`rope_scaling.type` is `linear`",
        ),
        ("olmo3", "rope_scaling", yarn(&|s| drop(s.insert("beta_fast".into(), json!(0.5)))), "beta_fast not below"),
        ("olmo3", "rope_scaling", yarn(&|s| drop(s.insert("truncate".into(), json!(1)))), "`rope_scaling.truncate`"),
        ("olmo3", "rope_scaling", json!({"rope_type": "dynamic", "factor": 2.0}), "the rotary type `dynamic`"),
        (
            "olmo3",
            "rope_parameters",
            json!({"full_attention": {"rope_type": "default"}}),
            "`rope_parameters.sliding_attention` is missing",
        ),
        (
            "olmo3",
            "rope_parameters",
            json!({"global": {"rope_type": "default"}}),
            "`rope_parameters.global` is not a layer type",
        ),
        (
            "olmo3",
            "rope_parameters",
            json!({"full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "default"}}),
            "contradicts",
        ),
        ("olmo3-by-layer-type", "rope_by_layer_type", json!(false), "states two different tables"),
        ("olmo3-by-layer-type", "rope_theta", json!(200.0), "contradicts"),
        ("qwen2", "rope_parameters", json!({"full_attention": {"rope_type": "default"}}), "differs by layer type"),
        (
            "qwen2",
            "layer_types",
            json!(["full_attention", "full_attention", "sliding_attention"]),
            "names `sliding_attention`, but the configuration states no window",
        ),
        (
            "mistral",
            "layer_types",
            json!(["full_attention", "full_attention", "sliding_attention"]),
            "`layer_types` contradicts the windows that `mistral` derives",
        ),
    ];
    for (model, field, value, expected) in cases {
        let folder = changed(model, |config| drop(config.insert(field.into(), value)));
        let message = refusal(folder.path());
        assert!(message.contains(expected), "{model}, {field}: {message}");
    }
}

/// Every place of a JSON value, as the keys and indices that lead there.
fn places(value: &Value) -> Vec<String> {
    let below = |key: String, value: &Value| {
        let key = format!("/{key}");
        places(value).into_iter().map(|rest| format!("{key}{rest}")).chain([key.clone()]).collect::<Vec<_>>()
    };
    match value {
        Value::Object(fields) => fields.iter().flat_map(|(key, value)| below(key.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().flat_map(|(at, value)| below(at.to_string(), value)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn whatever_stands_in_a_field_a_model_runs_or_is_refused() {
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(3),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(0.5),
        json!(-0.25),
        json!(1e-300),
        json!(1e300),
        json!(""),
        json!("yarn"),
        json!("full_attention"),
        json!([]),
        json!({}),
        json!({"rope_type": "yarn", "factor": 1e300}),
        json!({"full_attention": null}),
        json!([[1], "x"]),
    ];
    let (mut ran, mut refused) = (0, 0);
    for model in ["llama3", "mistral", "qwen2-window-yarn", "qwen3-yarn", "olmo3", "olmo3-by-layer-type"] {
        let folder = changed(model, |_| ());
        let path = folder.path().join("config.json");
        let config: Value = serde_json::from_str(&fs::read_to_string(&path).expect("config.json")).expect("JSON");
        for place in places(&config) {
            for value in &values {
                let mut changed = config.clone();
                *changed.pointer_mut(&place).expect("a place") = value.clone();
                fs::write(&path, changed.to_string()).expect("written");
                match Checkpoint::open(folder.path()) {
                    Err(error) => {
                        assert_eq!(error.fault, retmask_model::Fault::Input, "{place} = {value}: {error}");
                        assert!(error.message.len() > 20, "{error}");
                        refused += 1;
                    }
                    Ok(checkpoint) => {
                        let decoder = Decoder::load(&checkpoint, Numerics::F32).expect("a decoder");
                        let ids = &[1, 2, 3, 4, 5][..checkpoint.spec().context_length.min(5)];
                        let found = token_logprobs(&decoder, None, &[ids], &mut |_| Ok(())).expect("log-probabilities");
                        assert!(found[0].iter().all(|value| value.is_finite()), "{model}: {place} = {value}");
                        ran += 1;
                    }
                }
            }
        }
    }
    assert!(ran > 300 && refused > 1_000, "{ran} ran, {refused} were refused");
}

/// A GGUF file's spec with what the format keeps in f32, or lacks, taken from the configuration.
fn as_configured(gguf: &ModelSpec, configured: &ModelSpec) -> ModelSpec {
    let mut spec = gguf.clone();
    assert!((spec.norm_epsilon - configured.norm_epsilon).abs() < 1e-12);
    spec.norm_epsilon = configured.norm_epsilon;
    for (found, expected) in spec.rotary.iter_mut().zip(&configured.rotary) {
        assert_eq!(found.theta, expected.theta);
        match (&found.scaling, &expected.scaling) {
            (RotaryScaling::Divisors(_), RotaryScaling::Llama3 { .. }) => found.scaling = expected.scaling.clone(),
            (found, expected) => assert_eq!(found, expected),
        }
    }
    spec
}

#[test]
fn gguf_files_hold_the_same_models() {
    let inputs = Inputs::read();
    let sequences = inputs.sequences();
    let mut families = Vec::new();
    for model in Model::all() {
        let path = model.folder.join("reference/model.gguf");
        if !path.exists() {
            continue;
        }
        let gguf = Checkpoint::open(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(&as_configured(gguf.spec(), model.spec()), model.spec(), "{}", model.name);
        for tensor in model.spec().tensors() {
            let read = |checkpoint: &Checkpoint| checkpoint.tensor(&tensor.name, &tensor.shape).expect("a tensor");
            assert_eq!(read(&gguf), read(&model.checkpoint), "{}: {}", model.name, tensor.name);
        }
        let decoder = Decoder::build(gguf.spec().clone(), Purpose::Inference(Numerics::F32), &mut |name, shape| {
            gguf.tensor(name, shape)
        });
        let found = token_logprobs(&decoder.expect("a decoder"), None, &sequences, &mut |_| Ok(())).expect("found");
        let difference = largest_difference(&found, &model.expected("logprobs", sequences.len()));
        println!("{:<20} GGUF                   {difference:.1e}", model.name);
        assert!(difference <= LOGPROB_TOLERANCE, "{}: {difference}", model.name);
        families.push(model.spec().family);
    }
    for family in [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Olmo2, Family::Olmo3] {
        assert!(families.contains(&family), "a GGUF file of `{family}` was read");
    }
}

#[test]
fn a_stretched_model_is_the_one_whose_configuration_states_yarn() {
    let yarn = Yarn { factor: 6.0, original_context: 64 };
    let stated = json!({"rope_type": "yarn", "factor": 6.0, "original_max_position_embeddings": 64});
    let opened = |name: &str| Checkpoint::open(&families::folder().join(name)).expect("a model");
    // Qwen3 scales all layers.
    let expected = spec_with("qwen3", |config| {
        config.insert("rope_scaling".into(), stated.clone());
        config.insert("max_position_embeddings".into(), json!(384));
    });
    let stretched = opened("qwen3").stretched(yarn).expect("stretched");
    assert_eq!((stretched.spec(), stretched.spec().context_length), (&expected, 384));
    assert_ne!(stretched.spec(), opened("qwen3").spec());
    // Olmo-3 scales those that see everything, and is scaled already: by 4, to 256 tokens.
    let stretched = opened("olmo3-by-layer-type").stretched(yarn).expect("stretched");
    let before = opened("olmo3-by-layer-type").spec().clone();
    for (layer, was) in stretched.spec().layers.iter().zip(&before.layers) {
        let (table, was_table) = (&stretched.spec().rotary[layer.rotary], &before.rotary[was.rotary]);
        match layer.span {
            AttentionSpan::Window(_) => assert_eq!(table, was_table),
            AttentionSpan::Full => assert!(
                matches!(table.scaling, RotaryScaling::Yarn { factor: 6.0, original_context: 64, .. }),
                "{table:?}"
            ),
        }
    }
    // Llama-3.1's own scaling, and numbers that are none.
    let refused = |name: &str, yarn| opened(name).stretched(yarn).err().expect("refused").message;
    assert!(refused("llama3", yarn).contains("scales its positions in another way already"));
    // All of this one's layers have a window: there is nothing to stretch.
    assert!(refused("mistral", yarn).contains("every layer sees a window only"));
    for factor in [0.5, f64::NAN, f64::INFINITY] {
        let message = refused("qwen3", Yarn { factor, ..yarn });
        assert!(message.contains("the YaRN rotary scaling (factor"), "{message}");
    }
    let message = refused("qwen3", Yarn { original_context: u32::MAX, ..yarn });
    assert!(message.contains("a window of"), "{message}");
}
