//! Hugging Face folders that are wrong: shards, index, header, configuration and tokenizer that do not fit each other.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use retmask_model::checkpoint::{self, Checkpoint, StoredType};
use retmask_model::spec::{ModelSpec, TensorShape};
use retmask_model::text::TextAssets;
use retmask_model::{Fault, ModelError};
use serde_json::{Value, json};
use support::{edit_config, refusal, tiny_spec, tiny_values, write_tiny};
use tempfile::TempDir;

const INDEX: &str = "model.safetensors.index.json";

/// The tiny model in three shards.
fn sharded() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut values = |tensor: &TensorShape| Ok(tiny_values(tensor));
    checkpoint::write_sharded(folder.path(), &tiny_spec(), StoredType::F32, 2000, &mut values, None).expect("written");
    folder
}

fn shard(number: usize) -> String {
    format!("model-{number:05}-of-00003.safetensors")
}

fn edit_index(folder: &Path, edit: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let path = folder.join(INDEX);
    let mut index: Value = serde_json::from_str(&fs::read_to_string(&path).expect("the index")).expect("JSON");
    edit(index["weight_map"].as_object_mut().expect("a map"));
    fs::write(path, index.to_string()).expect("written");
}

#[test]
fn a_missing_shard_is_named_with_who_names_it() {
    let folder = sharded();
    Checkpoint::open(folder.path()).expect("the whole model opens");
    fs::remove_file(folder.path().join(shard(2))).expect("removed");
    let message = refusal(folder.path());
    assert!(message.contains(INDEX) && message.contains(&shard(2)) && message.contains("is not there"), "{message}");
}

#[test]
fn shards_that_disagree_with_the_index_are_refused() {
    let norm = "model.norm.weight";
    // The index says one file, the tensor is in another.
    let folder = sharded();
    edit_index(folder.path(), |map| drop(map.insert(norm.into(), shard(1).into())));
    assert!(refusal(folder.path()).contains("the index"), "{}", refusal(folder.path()));
    // A tensor the index does not know.
    let folder = sharded();
    edit_index(folder.path(), |map| drop(map.remove(norm)));
    let message = refusal(folder.path());
    assert!(
        message.contains(&format!("the tensor `{norm}` is in {}, but the index does not say so", shard(3))),
        "{message}"
    );
    // A tensor the index promises and no file has.
    let folder = sharded();
    edit_index(folder.path(), |map| drop(map.insert("model.more.weight".into(), shard(1).into())));
    assert!(refusal(folder.path()).contains(&format!("tensors in {}, which has", shard(1))));
    // The same tensor in two shards: the second file is a copy of the first.
    let folder = sharded();
    fs::copy(folder.path().join(shard(1)), folder.path().join("extra.safetensors")).expect("copied");
    edit_index(folder.path(), |map| drop(map.insert("model.more.weight".into(), "extra.safetensors".into())));
    let message = refusal(folder.path());
    assert!(message.contains("is in extra.safetensors, but the index does not say so"), "{message}");
}

#[test]
fn names_that_leave_the_folder_are_refused_before_they_are_opened() {
    let outside = tempfile::tempdir().expect("a folder");
    for name in ["../x.safetensors", "/etc/hostname", "a/b.safetensors", "..", "", "a\\..\\b/../c", "./x"] {
        let folder = sharded();
        edit_index(folder.path(), |map| drop(map.insert("model.norm.weight".into(), name.into())));
        let message = refusal(folder.path());
        assert!(message.contains("is not a file name inside the folder"), "{name:?}: {message}");
    }
    // The folder may itself be made of links to elsewhere.
    let folder = sharded();
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = outside.path().join(entry.file_name());
        fs::rename(entry.path(), &target).expect("moved");
        symlink(&target, entry.path()).expect("a link");
    }
    let checkpoint = Checkpoint::open(folder.path()).expect("links are followed");
    for tensor in tiny_spec().tensors() {
        assert_eq!(checkpoint.tensor(&tensor.name, &tensor.shape).expect("a tensor"), tiny_values(&tensor));
    }
}

#[test]
fn an_index_that_is_none_is_refused() {
    for text in
        ["", "[]", "{}", "{\"weight_map\": []}", "{\"weight_map\": {\"a\": 1}}", "{\"weight_map\": {\"a\": null}}"]
    {
        let folder = sharded();
        fs::write(folder.path().join(INDEX), text).expect("written");
        let message = refusal(folder.path());
        assert!(message.contains(INDEX) && message.contains("no weight index"), "{text}: {message}");
    }
    let folder = sharded();
    fs::write(folder.path().join(INDEX), "{\"weight_map\": {}}").expect("written");
    assert!(refusal(folder.path()).contains("hold only 0 tensors"));
}

/// The message with which a safetensors file of this header and so many bytes of data is refused.
fn header_refusal(header: &str, data: usize) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    write_tiny(folder.path(), StoredType::F32);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    fs::write(folder.path().join("model.safetensors"), bytes).expect("written");
    refusal(folder.path())
}

#[test]
fn numbers_that_overflow_in_a_header_are_refused() {
    let entry = |shape: &str, start: &str, end: &str| {
        format!("{{\"a\": {{\"dtype\": \"F32\", \"shape\": {shape}, \"data_offsets\": [{start}, {end}]}}}}")
    };
    let largest = u64::MAX.to_string();
    let cases = [
        (entry("[4294967296, 4294967296]", "0", "8"), "its shape or place is out of range"),
        (entry(&format!("[{largest}]"), "0", "8"), "its shape or place is out of range"),
        (entry("[4611686018427387904]", "0", "0"), "its shape or place is out of range"),
        (entry("[2]", "0", &largest), "take 8 bytes, not those from 0 to 18446744073709551615"),
        (entry("[2]", "8", "0"), "take 8 bytes, not those from 8 to 0"),
        (entry("[2]", &largest, "7"), "take 8 bytes"),
        (entry("[2]", "0", "18446744073709551616"), "malformed"),
        (entry("[-2]", "0", "8"), "malformed"),
        (entry("[2.0]", "0", "8"), "malformed"),
        (entry("[2]", "8", "16"), "starts at 8, the one before ends at 0"),
        (entry("[3]", "0", "12"), "ends at byte 12 of the data, which has only 8"),
        (entry("[1]", "0", "4"), "the tensors take 4 bytes, but 8 follow the header"),
    ];
    for (header, expected) in cases {
        let message = header_refusal(&header, 8);
        assert!(message.contains(expected), "{header}: {message}");
    }
    let twice = "{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}, \
                 \"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 8]}}";
    assert!(header_refusal(twice, 8).contains("the tensor `a` appears twice"));
    let overlapping = "{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}, \
                       \"b\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 8]}}";
    assert!(
        header_refusal(overlapping, 8).contains("the data of the tensor `b` starts at 4, the one before ends at 8")
    );
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(header_refusal(&format!("{{\"a\": {nested}}}"), 0).contains("malformed"));

    let folder = tempfile::tempdir().expect("a folder");
    write_tiny(folder.path(), StoredType::F32);
    for length in [u64::MAX, u64::MAX / 2, 100_000_001] {
        fs::write(folder.path().join("model.safetensors"), [&length.to_le_bytes()[..], b"{}"].concat())
            .expect("written");
        assert!(refusal(folder.path()).contains(&format!("the header states {length} bytes")));
    }
}

#[test]
fn configurations_that_contradict_the_tensors_are_refused() {
    let cases: [(&str, Value, &str); 5] = [
        (
            "vocab_size",
            json!(17),
            "`model.embed_tokens.weight` has the shape [16, 8], but the configuration asks for [17, 8]",
        ),
        ("num_key_value_heads", json!(2), "`model.layers.0.self_attn.k_proj.weight` has the shape [4, 8]"),
        ("head_dim", json!(8), "`model.layers.0.self_attn.q_proj.weight` has the shape [8, 8]"),
        ("num_attention_heads", json!(4), "`model.layers.0.self_attn.q_proj.weight` has the shape [8, 8]"),
        ("num_hidden_layers", json!(3), "`model.layers.2.input_layernorm.weight` of shape [8] is missing"),
    ];
    for (field, value, expected) in cases {
        let folder = sharded();
        edit_config(folder.path(), |config| drop(config.insert(field.into(), value)));
        let message = refusal(folder.path());
        assert!(message.contains(expected), "{field}: {message}");
    }
}

/// Writes the tiny model with the built-in model's texts, changed; the refusal of its codec.
fn text_refusal(rows: usize, edit: impl FnOnce(&mut TextAssets)) -> ModelError {
    let texts = tempfile::tempdir().expect("a folder");
    for (name, bytes) in retmask_model::embedded::find("tiny").expect("the built-in model") {
        fs::write(texts.path().join(name), bytes).expect("written");
    }
    let mut texts = TextAssets::read(texts.path()).expect("texts");
    edit(&mut texts);
    let folder = tempfile::tempdir().expect("a folder");
    let spec = ModelSpec { vocabulary_size: rows, ..tiny_spec() };
    let mut values = |tensor: &TensorShape| Ok(tiny_values(tensor));
    checkpoint::write(folder.path(), &spec, StoredType::Bf16, &mut values, Some(&texts)).expect("written");
    let checkpoint = Checkpoint::open(folder.path()).expect("the weights are right");
    match checkpoint.text_codec() {
        Err(error) => error,
        Ok(_) => panic!("the texts are refused"),
    }
}

#[test]
fn a_tokenizer_beyond_the_embedding_is_refused() {
    // The built-in model's tokenizer has 721 tokens.
    let error = text_refusal(720, |_| ());
    assert_eq!(error.fault, Fault::Input);
    assert!(error.message.contains("with the id 720, but the embedding has only 720 rows"), "{}", error.message);
    let error = text_refusal(721, |texts| {
        let mut tokenizer: Value = serde_json::from_str(&texts.tokenizer).expect("JSON");
        let token = json!({"id": 721, "content": "<more>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true});
        tokenizer["added_tokens"].as_array_mut().expect("a list").push(token);
        texts.tokenizer = tokenizer.to_string();
    });
    assert!(
        error.message.contains("\"<more>\" with the id 721, but the embedding has only 721 rows"),
        "{}",
        error.message
    );
    let error = text_refusal(721, |texts| texts.generation_config = Some("{\"eos_token_id\": [2, 721]}".into()));
    assert!(error.message.contains("the end token 721"), "{}", error.message);
    let error = text_refusal(721, |texts| texts.generation_config = Some("{\"eos_token_id\": -1}".into()));
    assert!(error.message.contains("`eos_token_id` holds -1"), "{}", error.message);
}

#[test]
fn the_generations_list_of_end_tokens_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in retmask_model::embedded::find("tiny").expect("the built-in model") {
        fs::write(folder.path().join(name), bytes).expect("written");
    }
    let ends = |generation: Option<&str>| {
        let path = folder.path().join("generation_config.json");
        match generation {
            Some(text) => fs::write(path, text).expect("written"),
            None => fs::remove_file(path).expect("removed"),
        }
        let checkpoint = Checkpoint::open(folder.path()).expect("a model");
        checkpoint.text_codec().expect("a codec").end_tokens().to_vec()
    };
    assert_eq!(ends(Some("{\"eos_token_id\": [0, 2, 1]}")), [0, 2, 1]);
    assert_eq!(ends(Some("{\"eos_token_id\": 1}")), [1]);
    // Without a statement there, config.json's counts.
    assert_eq!(ends(Some("{}")), [2]);
    assert_eq!(ends(None), [2]);
}

#[test]
fn an_index_beside_a_single_file_is_not_read() {
    // transformers prefers the single file, too.
    let folder = tempfile::tempdir().expect("a folder");
    write_tiny(folder.path(), StoredType::F32);
    let map: BTreeMap<String, String> = BTreeMap::new();
    fs::write(folder.path().join(INDEX), json!({"weight_map": map}).to_string()).expect("written");
    Checkpoint::open(folder.path()).expect("the single file is the model");
}
