//! Models written out again: another format, another type, heads masked for good.

#[path = "support/families.rs"]
mod families;
mod support;

use std::fs;
use std::path::Path;

use retmask_model::checkpoint::{self, Checkpoint, Destination, StoredType};
use retmask_model::decoder::Decoder;
use retmask_model::heads::{Head, HeadMask};
use retmask_model::logprobs::token_logprobs;
use retmask_model::spec::{ModelSpec, RotaryScaling, RotarySpec, TensorShape};
use retmask_model::text::{TextAssets, TextCodec};
use retmask_model::{Fault, ModelError, Numerics};
use serde_json::json;
use support::{fixture, tiny_spec, tiny_values, write_tiny};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(path).expect("a model")
}

fn export(model: &Checkpoint, destination: Destination<'_>, stored_type: StoredType, mask: Option<&HeadMask>) {
    model.export(destination, stored_type, mask, &mut |_| Ok(())).expect("exported");
}

fn whole(path: &Path) -> Destination<'_> {
    Destination::Folder { path, shard_bytes: u64::MAX }
}

/// All values of a model, by name, as bits.
fn bits(model: &Checkpoint) -> Vec<(String, Vec<u32>)> {
    let values = |tensor: &TensorShape| model.tensor(&tensor.name, &tensor.shape).expect("a tensor");
    let tensors = model.spec().tensors();
    tensors.iter().map(|tensor| (tensor.name.clone(), values(tensor).into_iter().map(f32::to_bits).collect())).collect()
}

/// The spec with the norm's epsilon as a GGUF file keeps it.
fn with_rounded_epsilon(spec: &ModelSpec) -> ModelSpec {
    ModelSpec { norm_epsilon: f64::from(spec.norm_epsilon as f32), ..spec.clone() }
}

/// The text files of the built-in model.
fn tiny_texts() -> (TempDir, TextAssets) {
    let folder = folder();
    for (name, bytes) in retmask_model::embedded::find("tiny").expect("the built-in model") {
        fs::write(folder.path().join(name), bytes).expect("written");
    }
    let texts = TextAssets::read(folder.path()).expect("texts");
    (folder, texts)
}

#[test]
fn folder_to_gguf_to_folder_keeps_every_bit() {
    let (first, middle, last) = (folder(), folder(), folder());
    for stored_type in StoredType::ALL {
        write_tiny(first.path(), stored_type);
        let original = open(first.path());
        assert_eq!(original.lossless_type(), stored_type);
        let file = middle.path().join(format!("{}.gguf", stored_type.name()));
        export(&original, Destination::Gguf(&file), stored_type, None);
        let gguf = open(&file);
        assert_eq!(gguf.lossless_type(), stored_type);
        assert_eq!(gguf.spec(), &with_rounded_epsilon(original.spec()));
        assert_eq!(bits(&gguf), bits(&original));
        let copy = last.path().join(stored_type.name());
        fs::create_dir(&copy).expect("a folder");
        export(&gguf, whole(&copy), stored_type, None);
        let copy = open(&copy);
        assert_eq!(copy.spec(), gguf.spec());
        assert_eq!(bits(&copy), bits(&original));
    }
}

#[test]
fn the_same_model_gives_the_same_file_and_its_vectors_are_f32() {
    let (first, second) = (folder(), folder());
    write_tiny(first.path(), StoredType::Bf16);
    let model = open(first.path());
    let file = |name: &str| second.path().join(name);
    for name in ["a.gguf", "b.gguf"] {
        export(&model, Destination::Gguf(&file(name)), StoredType::Bf16, None);
    }
    assert_eq!(fs::read(file("a.gguf")).expect("a file"), fs::read(file("b.gguf")).expect("a file"));
    let types = open(&file("a.gguf")).storage().expect("a summary").element_types;
    // Two norms in each of two layers and the final one; seven matrices in each layer, embedding and output.
    let counts: Vec<(&str, usize)> = types.iter().map(|(kind, (tensors, _))| (kind.name(), *tensors)).collect();
    assert_eq!(counts, [("F32", 5), ("BF16", 16)]);
}

#[test]
fn quantised_weights_are_exported_as_the_values_they_stand_for() {
    let model = open(&fixture("every-type.gguf"));
    assert_eq!(model.lossless_type(), StoredType::F32);
    let target = folder();
    export(&model, whole(target.path()), StoredType::F32, None);
    assert_eq!(bits(&open(target.path())), bits(&model));
    let again = target.path().join("again.gguf");
    export(&open(target.path()), Destination::Gguf(&again), StoredType::F32, None);
    assert_eq!(bits(&open(&again)), bits(&model));
    assert_eq!(open(&again).text_assets().expect("texts"), model.text_assets().expect("texts"));
}

#[test]
fn a_masked_copy_has_exactly_the_logprobs_of_the_mask() {
    let source = folder();
    write_tiny(source.path(), StoredType::F32);
    let model = open(source.path());
    let heads = [Head { layer: 0, head: 1 }, Head { layer: 1, head: 0 }];
    let sequences: [&[u32]; 2] = [&[1, 5, 3, 3, 9, 15, 0, 2], &[7, 8]];
    let logprobs = |model: &Checkpoint, mask: Option<&HeadMask>| {
        let decoder = Decoder::load(model, Numerics::F32).expect("a decoder");
        let values = token_logprobs(&decoder, mask, &sequences, &mut |_| Ok(())).expect("log-probabilities");
        values.into_iter().flatten().map(f64::to_bits).collect::<Vec<u64>>()
    };
    let plain = logprobs(&model, None);
    for masked in [&heads[..1], &heads[1..], &heads[..]] {
        let mask: HeadMask = masked.iter().copied().collect();
        let expected = logprobs(&model, Some(&mask));
        assert_ne!(expected, plain);
        let target = folder();
        export(&model, whole(target.path()), StoredType::F32, Some(&mask));
        assert_eq!(logprobs(&open(target.path()), None), expected);
        let file = target.path().join("masked.gguf");
        export(&model, Destination::Gguf(&file), StoredType::F32, Some(&mask));
        assert_eq!(logprobs(&open(&file), None), expected);
        // A mask on top of the copy changes nothing: what reads these heads is zero already.
        assert_eq!(logprobs(&open(target.path()), Some(&mask)), expected);
    }
}

#[test]
fn every_family_is_exported_with_its_mask_exactly() {
    let inputs = families::Inputs::read();
    let (sequences, mask) = (inputs.sequences(), inputs.mask());
    // What GGUF's architectures cannot say: windows outside of Olmo-3, two bases or one scaled table for all of
    // Olmo-3's layers, and YaRN with an attention factor of its own.
    let folder_only = ["mistral", "olmo3-by-layer-type", "olmo3-one-table", "qwen2-window-yarn", "qwen3-yarn"];
    let mut refused = Vec::new();
    for model in families::Model::all() {
        let logprobs = |checkpoint: &Checkpoint, mask: Option<&HeadMask>| {
            let decoder = Decoder::load(checkpoint, Numerics::F32).expect("a decoder");
            token_logprobs(&decoder, mask, &sequences, &mut |_| Ok(())).expect("log-probabilities")
        };
        let expected = logprobs(&model.checkpoint, Some(&mask));
        let target = folder();
        export(&model.checkpoint, whole(target.path()), StoredType::F32, Some(&mask));
        let copy = open(target.path());
        assert_eq!(copy.spec(), model.spec(), "{}", model.name);
        assert_eq!(logprobs(&copy, None), expected, "{}: folder", model.name);

        let file = target.path().join("model.gguf");
        let destination = Destination::Gguf(&file);
        match model.checkpoint.export(destination, StoredType::F32, Some(&mask), &mut |_| Ok(())) {
            Ok(_) => assert_eq!(logprobs(&open(&file), None), expected, "{}: GGUF", model.name),
            Err(error) => {
                assert_eq!(error.fault, Fault::Input, "{}", error.message);
                assert!(error.message.starts_with("a GGUF file cannot hold this model: "), "{}", error.message);
                assert!(!file.exists());
                refused.push(model.name);
            }
        }
    }
    refused.sort_unstable();
    assert_eq!(refused, folder_only);
}

#[test]
fn only_the_columns_of_masked_heads_are_zero() {
    let source = folder();
    write_tiny(source.path(), StoredType::F32);
    let model = open(source.path());
    let mask: HeadMask = [Head { layer: 1, head: 1 }].into_iter().collect();
    let target = folder();
    export(&model, whole(target.path()), StoredType::F32, Some(&mask));
    let copy = open(target.path());
    for tensor in model.spec().tensors() {
        let mut expected = tiny_values(&tensor);
        if tensor.name == "model.layers.1.self_attn.o_proj.weight" {
            // Rows of two heads of 4 columns.
            for (index, value) in expected.iter_mut().enumerate() {
                if index % 8 >= 4 {
                    *value = 0.0;
                }
            }
        }
        assert_eq!(copy.tensor(&tensor.name, &tensor.shape).expect("a tensor"), expected, "{}", tensor.name);
    }
    let beyond: HeadMask = [Head { layer: 2, head: 0 }].into_iter().collect();
    let error = model.export(whole(target.path()), StoredType::F32, Some(&beyond), &mut |_| Ok(()));
    assert!(error.expect_err("refused").message.contains("the mask names head 2-0"));
}

#[test]
fn shards_hold_no_more_than_asked_for_and_read_as_one_model() {
    let source = folder();
    write_tiny(source.path(), StoredType::F32);
    let model = open(source.path());
    // Embedding and output are 512 bytes each, the MLP's matrices 384, the largest of the others 256.
    for (limit, files) in [(u64::MAX, 1), (2000, 3), (512, 12), (1, 21)] {
        let target = folder();
        let destination = Destination::Folder { path: target.path(), shard_bytes: limit };
        let written = model.export(destination, StoredType::F32, None, &mut |_| Ok(())).expect("exported");
        let mut weights: Vec<u64> = Vec::new();
        for entry in fs::read_dir(target.path()).expect("a folder") {
            let entry = entry.expect("an entry");
            if entry.file_name().to_string_lossy().ends_with(".safetensors") {
                weights.push(entry.metadata().expect("facts").len());
                let bytes = fs::read(entry.path()).expect("weights");
                let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors").tensors();
                let data: usize = tensors.iter().map(|(_, view)| view.data().len()).sum();
                assert!(data as u64 <= limit || tensors.len() == 1, "{data} bytes in {} tensors", tensors.len());
            }
        }
        assert_eq!((weights.len(), weights.iter().sum::<u64>()), (written.files, written.bytes));
        assert_eq!(written.files, files, "in files of {limit} bytes");
        assert_eq!(target.path().join("model.safetensors.index.json").exists(), files > 1);
        assert_eq!(bits(&open(target.path())), bits(&model));
    }
}

#[test]
fn the_tokenizer_survives_a_gguf_file() {
    let (source, texts) = tiny_texts();
    let tiny = open(source.path());
    let target = folder();
    let file = target.path().join("tiny.gguf");
    export(&tiny, Destination::Gguf(&file), tiny.lossless_type(), None);
    let gguf = open(&file);
    assert_eq!(bits(&gguf), bits(&tiny), "bf16 weights and norms are kept");
    let (before, after) = (tiny.text_codec().expect("a codec"), gguf.text_codec().expect("a codec"));
    for text in ["Repeat these words: ta ko.\n\nNow.", "<|im_start|>user\nÄ 12 <|im_end|>", "", " a  b\u{0}"] {
        for special in [false, true] {
            let ids = before.encode(text, special).expect("ids");
            assert_eq!(after.encode(text, special).expect("ids"), ids, "{text:?}");
            assert_eq!(after.decode(&ids, false).expect("text"), before.decode(&ids, false).expect("text"));
        }
    }
    assert_eq!(after.end_tokens(), before.end_tokens());
    assert_eq!(gguf.text_assets().expect("texts").chat_template, texts.chat_template);
}

#[test]
fn begin_tokens_splitting_rules_and_unused_rows_survive_a_gguf_file() {
    let (_folder, texts) = tiny_texts();
    let words = r"[^\r\n\p{L}\p{N}]?\p{L}+";
    let rest = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let split = |digits: &str| {
        let pattern = format!("(?i:'s|'t|'re|'ve|'m|'ll|'d)|{words}|{digits}|{rest}");
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]})
    };
    let begin = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
        {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}}}]});
    // As the files of Llama-3 and of Qwen2 have them; and one more token that is not special.
    let cases = [
        (json!(null), split(r"\p{N}{1,3}"), true, begin, vec![1]),
        (json!({"type": "NFC"}), split(r"\p{N}"), false, json!(null), vec![]),
    ];
    for (normalizer, pre_tokenizer, ignore_merges, post_processor, before) in cases {
        let mut tokenizer: serde_json::Value = serde_json::from_str(&texts.tokenizer).expect("JSON");
        tokenizer["normalizer"] = normalizer;
        tokenizer["pre_tokenizer"] = pre_tokenizer;
        tokenizer["post_processor"] = post_processor;
        tokenizer["model"]["ignore_merges"] = ignore_merges.into();
        let think = json!({"id": 721, "content": "<think>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": false});
        tokenizer["added_tokens"].as_array_mut().expect("a list").push(think);
        let texts = TextAssets { tokenizer: tokenizer.to_string(), end_tokens: vec![0, 2], ..texts.clone() };
        let spec = ModelSpec { vocabulary_size: 730, ..tiny_spec() };
        let target = folder();
        let file = target.path().join("model.gguf");
        let mut values = |tensor: &TensorShape| Ok(tiny_values(tensor));
        checkpoint::write_gguf(&file, &spec, StoredType::F32, &mut values, Some(&texts)).expect("written");
        let gguf = open(&file);
        let (expected, found) = (TextCodec::new(&texts).expect("a codec"), gguf.text_codec().expect("a codec"));
        for text in ["It's 1234 e\u{301}\u{e9} <think>\n\n x", "Question: word", "<|im_end|>a"] {
            for special in [true, false] {
                assert_eq!(found.encode(text, special).expect("ids"), expected.encode(text, special).expect("ids"));
            }
        }
        let ids = found.encode("<think>", true).expect("ids");
        assert_eq!(ids, [before, vec![721]].concat());
        assert_eq!(found.decode(&ids, true).expect("text"), "<think>", "it is no special token");
        // The tokenizer's own end token comes first.
        assert_eq!((found.end_tokens(), found.end_of_sequence()), (&[2, 0][..], Some(2)));
        assert_eq!(found.decode(&[725], false).expect("text"), "", "a row without a token stands for no text");
    }
}

/// The message with which a GGUF export of the tiny model with these texts is refused.
fn refused(spec: &ModelSpec, texts: &TextAssets) -> ModelError {
    let target = folder();
    let file = target.path().join("model.gguf");
    let mut values = |tensor: &TensorShape| Ok(tiny_values(tensor));
    let written = checkpoint::write_gguf(&file, spec, StoredType::F32, &mut values, Some(texts));
    let error = written.expect_err("refused");
    assert_eq!(error.fault, Fault::Input, "{}", error.message);
    assert!(!file.exists(), "nothing is begun that cannot be finished");
    error
}

#[test]
fn what_a_gguf_file_cannot_say_is_refused() {
    let (_folder, texts) = tiny_texts();
    let spec = |rows| ModelSpec { vocabulary_size: rows, ..tiny_spec() };
    let edited = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut tokenizer = serde_json::from_str(&texts.tokenizer).expect("JSON");
        edit(&mut tokenizer);
        TextAssets { tokenizer: tokenizer.to_string(), ..texts.clone() }
    };
    let error = refused(&spec(16), &texts);
    assert!(error.message.contains("but the embedding has 16 rows"), "{}", error.message);
    let rows = spec(1 << 16);
    let error = refused(&rows, &edited(&|file| file["pre_tokenizer"]["add_prefix_space"] = true.into()));
    assert!(error.message.contains("the rules by which its tokenizer splits text have no name"), "{}", error.message);
    let error = refused(&rows, &edited(&|file| file["added_tokens"][0]["lstrip"] = true.into()));
    assert!(error.message.contains("takes the space around it"), "{}", error.message);
    let error = refused(&rows, &edited(&|file| file["model"]["byte_fallback"] = true.into()));
    assert!(error.message.contains("no byte-level BPE"), "{}", error.message);
    let error = refused(&rows, &TextAssets { end_tokens: vec![0, 1, 2, 3], ..texts.clone() });
    assert!(error.message.contains("4 end tokens; the format has 3 places"), "{}", error.message);
    assert!(error.hint.is_some_and(|hint| hint.contains("Hugging Face folder")));
}

#[test]
fn what_a_configuration_cannot_say_is_refused() {
    // Divisors that follow no rule a config.json has a name for.
    let rotary = vec![RotarySpec { theta: 10_000.0, scaling: RotaryScaling::Divisors(vec![1.0, 3.0].into()) }];
    let spec = ModelSpec { rotary, ..tiny_spec() };
    let source = folder();
    let file = source.path().join("model.gguf");
    let mut values = |tensor: &TensorShape| Ok(tiny_values(tensor));
    checkpoint::write_gguf(&file, &spec, StoredType::F32, &mut values, None).expect("a GGUF file can");
    let model = open(&file);
    assert_eq!(model.spec().rotary, spec.rotary);
    let target = folder();
    let refused = model.export(whole(target.path()), StoredType::F32, None, &mut |_| Ok(()));
    let error = refused.expect_err("refused");
    assert_eq!(error.fault, Fault::Input);
    assert!(error.message.contains("a config.json cannot hold this model"), "{}", error.message);
    assert_eq!(fs::read_dir(target.path()).expect("a folder").count(), 0);
}

#[test]
fn a_stop_between_tensors_ends_the_export() {
    let source = folder();
    write_tiny(source.path(), StoredType::F32);
    let target = folder();
    let mut tensors = 0;
    let stopped = open(source.path()).export(whole(target.path()), StoredType::F32, None, &mut |_| {
        tensors += 1;
        if tensors == 3 { Err(ModelError::interrupted()) } else { Ok(()) }
    });
    assert_eq!(stopped.expect_err("stopped").fault, Fault::Interrupted);
    assert!(!target.path().join("config.json").exists(), "what is half-written does not look like a model");
}
