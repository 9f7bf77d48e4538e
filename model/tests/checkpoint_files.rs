//! Reading and writing models: GGUF, safetensors, configurations; and what is refused, with which words.

mod support;

use std::collections::BTreeMap;
use std::fs;

use half::bf16;
use retmask_model::checkpoint::{self, Checkpoint, StoredType};
use retmask_model::spec::{ModelSpec, RotaryScaling, RotarySpec, TensorShape};
use retmask_model::text::ChatMessage;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use support::{edit_config, fixture, refusal, tiny_spec, tiny_values, write_tiny};

#[test]
fn every_element_type_has_the_bits_of_the_reference_reader() {
    let text = fs::read_to_string(fixture("every-type.json")).expect("digests");
    let expected: BTreeMap<String, Value> = serde_json::from_str(&text).expect("JSON");
    let checkpoint = Checkpoint::open(&fixture("every-type.gguf")).expect("the fixture opens");
    let tensors = checkpoint.spec().tensors();
    assert_eq!(tensors.len(), expected.len());
    for tensor in tensors {
        let values = checkpoint.tensor(&tensor.name, &tensor.shape).expect("a tensor");
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let expected = &expected[&tensor.name];
        assert_eq!(json!(tensor.shape), expected["shape"], "{}", tensor.name);
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), expected["blake3"], "{}", tensor.name);
    }
    let storage = checkpoint.storage().expect("a summary");
    let types: Vec<&str> = storage.element_types.keys().map(|kind| kind.name()).collect();
    assert_eq!(types, ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K"]);
    assert!(storage.has_tokenizer && storage.has_chat_template);
}

#[test]
fn the_tokenizer_of_a_gguf_file_becomes_files_that_read_the_same() {
    let gguf = Checkpoint::open(&fixture("every-type.gguf")).expect("the fixture opens");
    let folder = tempfile::tempdir().expect("a folder");
    let assets = gguf.text_assets().expect("texts");
    let mut values = |tensor: &TensorShape| gguf.tensor(&tensor.name, &tensor.shape);
    checkpoint::write(folder.path(), gguf.spec(), StoredType::F32, &mut values, Some(&assets)).expect("written");
    let copy = Checkpoint::open(folder.path()).expect("the copy opens");
    assert_eq!(copy.spec(), gguf.spec());
    for tensor in gguf.spec().tensors() {
        let read = |checkpoint: &Checkpoint| checkpoint.tensor(&tensor.name, &tensor.shape).expect("a tensor");
        assert_eq!(read(&copy), read(&gguf), "{}", tensor.name);
    }
    assert_eq!(copy.text_assets().expect("texts"), assets);
    for codec in [gguf.text_codec().expect("a codec"), copy.text_codec().expect("a codec")] {
        assert_eq!(codec.encode("ab ab12<|end|>", true).expect("ids"), [4, 5, 6, 7, 0]);
        assert_eq!(codec.decode(&[4, 5, 6, 7, 0], true).expect("text"), "ab ab12");
        assert_eq!(codec.end_tokens(), [0]);
        let turn = ChatMessage { role: "user".into(), content: "a".into() };
        assert_eq!(codec.render_chat(&[turn], true, None).expect("a chat").text(), "a<|end|>");
    }
}

#[test]
fn a_written_model_reads_back_and_is_the_same_bytes_each_time() {
    let (first, second) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    for stored_type in [StoredType::F32, StoredType::Bf16] {
        write_tiny(first.path(), stored_type);
        write_tiny(second.path(), stored_type);
        for name in ["config.json", "model.safetensors"] {
            let bytes = |folder: &tempfile::TempDir| fs::read(folder.path().join(name)).expect("a file");
            assert_eq!(bytes(&first), bytes(&second), "{name}");
        }
        // The format's own library reads it, too.
        let file = fs::read(first.path().join("model.safetensors")).expect("weights");
        let foreign = SafeTensors::deserialize(&file).expect("safetensors");
        let checkpoint = Checkpoint::open(first.path()).expect("the model opens");
        assert_eq!(checkpoint.spec(), &tiny_spec());
        assert_eq!(foreign.len(), checkpoint.spec().tensors().len());
        for tensor in checkpoint.spec().tensors() {
            let expected: Vec<f32> = tiny_values(&tensor)
                .into_iter()
                .map(|value| if stored_type == StoredType::F32 { value } else { bf16::from_f32(value).to_f32() })
                .collect();
            assert_eq!(checkpoint.tensor(&tensor.name, &tensor.shape).expect("a tensor"), expected);
            assert_eq!(foreign.tensor(&tensor.name).expect("a tensor").shape(), tensor.shape);
        }
    }
}

#[test]
fn bf16_is_rounded_to_nearest_with_ties_to_even() {
    let folder = tempfile::tempdir().expect("a folder");
    // 1 + 2^-8 lies between 1 and 1 + 2^-7: to 1, whose last bit is even; 1 + 3 * 2^-8 goes up.
    let exact = [1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8), 1.0 + 2f32.powi(-8) + 2f32.powi(-20)];
    let mut values = |tensor: &TensorShape| Ok(exact.iter().copied().cycle().take(tensor.values()).collect());
    checkpoint::write(folder.path(), &tiny_spec(), StoredType::Bf16, &mut values, None).expect("written");
    let checkpoint = Checkpoint::open(folder.path()).expect("the model opens");
    let norm = checkpoint.tensor("model.norm.weight", &[8]).expect("a tensor");
    assert_eq!(norm[..3], [1.0, 1.0 + 2f32.powi(-6), 1.0 + 2f32.powi(-7)]);
}

#[test]
fn a_model_that_is_not_finite_is_not_written() {
    // The largest f32 rounds to infinity in bf16.
    for (bad, stored_type) in [(f32::NAN, StoredType::F32), (f32::MAX, StoredType::Bf16)] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut values = |tensor: &TensorShape| {
            let mut values = tiny_values(tensor);
            if tensor.name == "model.layers.1.mlp.up_proj.weight" {
                values[5] = bad;
            }
            Ok(values)
        };
        let error =
            checkpoint::write(folder.path(), &tiny_spec(), stored_type, &mut values, None).expect_err("refused");
        assert!(error.message.contains("model.layers.1.mlp.up_proj.weight"), "{}", error.message);
        assert!(!folder.path().join("config.json").exists(), "a refused model must not look like one");
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    write_tiny(folder.path(), StoredType::F32);
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(&path).expect("weights");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        // The last tensor of the file is the output projection.
        let mut bytes = whole.clone();
        let place = bytes.len() - 8;
        bytes[place..place + 4].copy_from_slice(&bad.to_le_bytes());
        fs::write(&path, bytes).expect("weights are written");
        let message = refusal(folder.path());
        assert!(message.contains("`lm_head.weight` holds a value that is not finite"), "{message}");
        assert!(message.contains("index 126"), "{message}");
    }
}

#[test]
fn sharded_weights_are_read_and_their_index_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    write_tiny(folder.path(), StoredType::F32);
    fs::remove_file(folder.path().join("model.safetensors")).expect("removed");
    let spec = tiny_spec();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let mut map = BTreeMap::new();
    for (number, shard) in shards.iter().enumerate() {
        let stored: Vec<(TensorShape, Vec<u8>)> = spec
            .tensors()
            .into_iter()
            .enumerate()
            .filter(|(index, _)| index % 2 == number)
            .map(|(_, tensor)| {
                let bytes = tiny_values(&tensor).iter().flat_map(|value| value.to_le_bytes()).collect();
                (tensor, bytes)
            })
            .collect();
        map.extend(stored.iter().map(|(tensor, _)| (tensor.name.clone(), (*shard).to_owned())));
        let views = stored.iter().map(|(tensor, bytes)| {
            (tensor.name.clone(), TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).expect("a view"))
        });
        let bytes = safetensors::serialize(views, None).expect("serialised");
        fs::write(folder.path().join(shard), bytes).expect("a shard is written");
    }
    let write_index = |map: &BTreeMap<String, String>| {
        let index = json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
        fs::write(folder.path().join("model.safetensors.index.json"), index).expect("the index is written");
    };
    write_index(&map);
    let checkpoint = Checkpoint::open(folder.path()).expect("the model opens");
    for tensor in spec.tensors() {
        assert_eq!(checkpoint.tensor(&tensor.name, &tensor.shape).expect("a tensor"), tiny_values(&tensor));
    }
    assert_eq!(checkpoint.storage().expect("a summary").files, 2);

    for outside in ["../model-00001-of-00002.safetensors", "/etc/passwd", "a/../b.safetensors", "", "."] {
        let mut map = map.clone();
        map.insert("model.norm.weight".into(), outside.into());
        write_index(&map);
        assert!(refusal(folder.path()).contains("not a file name inside the folder"), "{outside}");
    }
    let mut moved = map.clone();
    let home = moved["model.norm.weight"].clone();
    let other = shards.iter().find(|shard| **shard != home).expect("another shard");
    moved.insert("model.norm.weight".into(), (*other).to_string());
    write_index(&moved);
    assert!(refusal(folder.path()).contains("the index"));
    let mut more = map.clone();
    more.insert("model.extra".into(), home);
    write_index(&more);
    assert!(refusal(folder.path()).contains("the index places"));
}

#[test]
fn missing_extra_and_misshapen_tensors_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases: [(&str, Value, &str); 4] = [
        (
            "intermediate_size",
            json!(13),
            "`model.layers.0.mlp.gate_proj.weight` has the shape [12, 8], but the configuration asks for [13, 8]",
        ),
        ("num_hidden_layers", json!(3), "`model.layers.2.input_layernorm.weight` of shape [8] is missing"),
        (
            "num_hidden_layers",
            json!(1),
            "`model.layers.1.input_layernorm.weight` is not part of a llama model of 1 layers",
        ),
        ("attention_bias", json!(true), "`model.layers.0.self_attn.q_proj.bias` of shape [8] is missing"),
    ];
    for (field, value, expected) in cases {
        write_tiny(folder.path(), StoredType::Bf16);
        edit_config(folder.path(), |config| drop(config.insert(field.into(), value)));
        let message = refusal(folder.path());
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn tied_models_ignore_a_stored_copy_of_the_embedding() {
    let folder = tempfile::tempdir().expect("a folder");
    write_tiny(folder.path(), StoredType::Bf16);
    edit_config(folder.path(), |config| drop(config.insert("tie_word_embeddings".into(), json!(true))));
    let checkpoint = Checkpoint::open(folder.path()).expect("the model opens");
    assert!(!checkpoint.has_tensor("lm_head.weight"));
}

/// The spec of a tiny model whose config.json is changed.
fn spec_with(edit: impl FnOnce(&mut serde_json::Map<String, Value>)) -> ModelSpec {
    let folder = tempfile::tempdir().expect("a folder");
    write_tiny(folder.path(), StoredType::Bf16);
    edit_config(folder.path(), edit);
    Checkpoint::open(folder.path()).expect("the model opens").spec().clone()
}

#[test]
fn both_spellings_of_the_rotary_settings_are_read() {
    let rules = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                       "original_max_position_embeddings": 8192, "rope_type": "llama3"});
    let llama3 = RotaryScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context: 8192,
    };
    let older = spec_with(|config| {
        config.insert("rope_theta".into(), json!(500_000.0));
        config.insert("rope_scaling".into(), rules.clone());
    });
    let newer = spec_with(|config| {
        config.remove("rope_theta");
        config.remove("rope_scaling");
        let mut parameters = rules.clone();
        parameters["rope_theta"] = json!(500_000.0);
        config.insert("rope_parameters".into(), parameters);
    });
    for spec in [&older, &newer] {
        assert_eq!(spec.rotary[0].theta, 500_000.0);
        assert_eq!(spec.rotary[0].scaling, llama3);
    }
    // What is written in the older spelling is read back.
    let folder = tempfile::tempdir().expect("a folder");
    let mut values = |tensor: &TensorShape| Ok(tiny_values(tensor));
    checkpoint::write(folder.path(), &newer, StoredType::Bf16, &mut values, None).expect("written");
    assert_eq!(Checkpoint::open(folder.path()).expect("the model opens").spec(), &older);
    // Older files say `type`, or nothing at all.
    let plain = spec_with(|config| {
        config.remove("rope_theta");
        config.remove("rope_scaling");
    });
    assert_eq!(plain.rotary[0], RotarySpec { theta: 10_000.0, scaling: RotaryScaling::None });
}

#[test]
fn configurations_that_are_not_understood_are_refused_by_name() {
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0});
    let cases: [(&str, Value, &str); 23] = [
        ("model_type", json!("mamba"), "`model_type` is `mamba`, which is not supported; `llama`, `mistral`"),
        ("model_type", Value::Null, "`model_type` is missing"),
        ("hidden_size", Value::Null, "`hidden_size` is missing"),
        ("hidden_size", json!("8"), "`hidden_size` should be an integer"),
        ("hidden_size", json!(-8), "`hidden_size` should be an integer"),
        ("hidden_size", json!(0), "hidden size is 0"),
        ("num_hidden_layers", json!(u64::MAX), "layer count is 18446744073709551615"),
        ("num_hidden_layers", json!(1_000_000), "the weights hold only"),
        ("num_key_value_heads", json!(3), "2 attention heads cannot share 3"),
        ("head_dim", json!(3), "head dimension is 3"),
        ("rms_norm_eps", json!(0.0), "epsilon is 0"),
        ("hidden_act", json!("gelu"), "`hidden_act` is `gelu`"),
        ("partial_rotary_factor", json!(0.5), "`partial_rotary_factor` is 0.5"),
        ("quantization_config", json!({"quant_method": "gptq"}), "`quantization_config` is set"),
        ("rope_theta", json!(-1.0), "rotary base is -1"),
        (
            "rope_scaling",
            json!({"rope_type": "longrope", "factor": 4.0}),
            "the rotary type `longrope` (rope_scaling) is not known; `default`, `linear`, `llama3` and `yarn` are",
        ),
        ("rope_scaling", json!({"type": "linear"}), "`rope_scaling.factor` is missing"),
        ("rope_scaling", json!({"type": "linear", "factor": 2.0, "beta": 1}), "`rope_scaling.beta` is not a setting"),
        ("rope_scaling", json!({"type": "yarn", "factor": 0.5}), "a factor of at least 1"),
        ("sliding_window", json!(64), "`sliding_window` is 64, but `llama` models have no windows"),
        ("rope_by_layer_type", json!(false), "only `olmo3` models have it"),
        ("rope_scaling", llama3, "`rope_scaling.original_max_position_embeddings` is missing"),
        ("rope_parameters", json!({"rope_type": "default", "rope_theta": 5.0}), "contradicts"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    for (field, value, expected) in cases {
        write_tiny(folder.path(), StoredType::Bf16);
        edit_config(folder.path(), |config| drop(config.insert(field.into(), value)));
        let message = refusal(folder.path());
        assert!(message.contains("config.json: ") && message.contains(expected), "{message}");
    }
    fs::write(folder.path().join("config.json"), "{").expect("written");
    assert!(refusal(folder.path()).contains("config.json: this is no JSON object"));
    fs::remove_file(folder.path().join("config.json")).expect("removed");
    assert!(refusal(folder.path()).contains("has no config.json"));
}

/// The fixture with every occurrence of one byte string replaced by another of its length.
fn patched(from: &[u8], to: &[u8]) -> String {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(fixture("every-type.gguf")).expect("the fixture");
    let places: Vec<usize> = (0..bytes.len() - from.len()).filter(|&at| &bytes[at..at + from.len()] == from).collect();
    assert!(!places.is_empty(), "the fixture holds {from:?}");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("patched.gguf");
    fs::write(&path, bytes).expect("written");
    refusal(&path)
}

#[test]
fn gguf_files_that_are_not_understood_are_refused_by_name() {
    let tensor_type = |name: &str, dimensions: &[u64], number: u32| {
        let mut bytes = name.as_bytes().to_vec();
        bytes.extend((dimensions.len() as u32).to_le_bytes());
        bytes.extend(dimensions.iter().flat_map(|length| length.to_le_bytes()));
        bytes.extend(number.to_le_bytes());
        bytes
    };
    let value = |key: &str, value: u32| {
        let mut bytes = key.as_bytes().to_vec();
        bytes.extend(4u32.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        bytes
    };
    let gate = |number| tensor_type("blk.0.ffn_gate.weight", &[256, 2], number);
    let cases: [(Vec<u8>, Vec<u8>, &str); 9] = [
        (
            b"\x05\0\0\0\0\0\0\0llama".into(),
            b"\x05\0\0\0\0\0\0\0bloom".into(),
            "the architecture `bloom` is not supported",
        ),
        (b"GGUF\x03".into(), b"GGUF\x01".into(), "GGUF version 1 is not supported"),
        (b"GGUF\x03\0\0\0".into(), b"GGUF\0\0\0\x03".into(), "big-endian"),
        (gate(2), gate(6), "the tensor `blk.0.ffn_gate.weight`: the element type Q5_0 is not supported"),
        (gate(2), gate(99), "the element type number 99 is unknown"),
        (gate(2), tensor_type("blk.0.ffn_gate.weight", &[256, 0], 2), "a dimension is 0"),
        (value("llama.block_count", 1), value("llama.block_count", 2), "`model.layers.1.input_layernorm.weight`"),
        (
            value("llama.feed_forward_length", 2),
            value("llama.feed_forward_length", 3),
            "the tensor `blk.0.ffn_gate.weight` (model.layers.0.mlp.gate_proj.weight) has the shape [2, 256], \
             but the configuration asks for [3, 256]",
        ),
        (
            b"blk.0.ffn_norm.weight".into(),
            b"blk.0.ffn_nor2.weight".into(),
            "`blk.0.ffn_nor2.weight` is not part of a `llama` model",
        ),
    ];
    for (from, to, expected) in cases {
        let message = patched(&from, &to);
        assert!(message.contains("patched.gguf: ") && message.contains(expected), "{message}");
    }
}

#[test]
fn paths_that_hold_no_model_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(refusal(&folder.path().join("absent.gguf")).contains("absent.gguf"));
    let empty = folder.path().join("empty.gguf");
    fs::write(&empty, "").expect("written");
    assert!(refusal(&empty).contains("is empty"));
    let text = folder.path().join("text.gguf");
    fs::write(&text, "hello").expect("written");
    assert!(refusal(&text).contains("is no GGUF file"));
    assert!(refusal(folder.path()).contains("has no config.json"));
    write_tiny(folder.path(), StoredType::Bf16);
    fs::remove_file(folder.path().join("model.safetensors")).expect("removed");
    assert!(refusal(folder.path()).contains("neither model.safetensors nor model.safetensors.index.json"));
}
