//! SmolLM2-135M-Instruct as a GGUF file, against transformers' and the `gguf` package's reading of it.

mod support;

use std::fs;

use half::bf16;
use retmask_model::checkpoint::{self, Checkpoint, StoredType};
use retmask_model::spec::{RotaryScaling, TensorShape};
use retmask_model::text::{ChatMessage, TextAssets, TextCodec};
use serde_json::Value;

fn open() -> Checkpoint {
    Checkpoint::open(&support::smollm2()).expect("SmolLM2 opens")
}

/// The codec transformers makes of the same file.
fn reference_codec() -> TextCodec {
    let assets = TextAssets::read(&support::shared().join("data/smollm2")).expect("the reference files are there");
    TextCodec::new(&assets).expect("the reference tokenizer loads")
}

#[test]
#[ignore = "needs SmolLM2 and the reference values; scripts/test runs it"]
fn the_shape_is_that_of_the_reference_configuration() {
    let text = fs::read_to_string(support::shared().join("data/smollm2/config.json")).expect("config.json");
    let config: Value = serde_json::from_str(&text).expect("JSON");
    let checkpoint = open();
    let spec = checkpoint.spec();
    for (field, value) in [
        ("vocab_size", spec.vocabulary_size),
        ("hidden_size", spec.hidden_size),
        ("intermediate_size", spec.intermediate_size),
        ("num_hidden_layers", spec.layers.len()),
        ("num_attention_heads", spec.query_heads),
        ("num_key_value_heads", spec.key_value_heads),
        ("head_dim", spec.head_dim),
        ("max_position_embeddings", spec.context_length),
    ] {
        assert_eq!(config[field].as_u64(), Some(value as u64), "{field}");
    }
    assert_eq!(config["rms_norm_eps"].as_f64(), Some(spec.norm_epsilon));
    assert_eq!(config["tie_word_embeddings"].as_bool(), Some(spec.tied_embeddings));
    assert_eq!(config["rope_parameters"]["rope_theta"].as_f64(), Some(spec.rotary[0].theta));
    assert_eq!(spec.rotary[0].scaling, RotaryScaling::None);
    assert_eq!(spec.parameters(), 134_515_008);
}

#[test]
#[ignore = "needs SmolLM2; scripts/test runs it"]
fn all_weights_have_the_bits_of_the_reference_reader() {
    // blake3 over all f32 values as `gguf` 0.19 (numpy) de-quantises them, queries and keys in Hugging Face
    // order, tensors in the order of `ModelSpec::tensors`.
    let expected = "3d05d840e988b12d8f27b08f195fc93d274d6869f35a81ac57f23e36d3af40e3";
    let checkpoint = open();
    let mut hasher = blake3::Hasher::new();
    for tensor in checkpoint.spec().tensors() {
        let values = checkpoint.tensor(&tensor.name, &tensor.shape).expect("a tensor of the model");
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
    assert_eq!(hasher.finalize().to_hex().as_str(), expected);
}

#[test]
#[ignore = "needs SmolLM2 and the reference values; scripts/test runs it"]
fn haystacks_are_tokenised_as_by_the_reference_tokenizer() {
    let (ours, reference) = (open().text_codec().expect("a codec"), reference_codec());
    let mut tokens = 0;
    for part in ["part1", "part2", "part3"] {
        let path = support::shared().join("data/niah").join(part).join("p1.txt");
        let text = fs::read_to_string(&path).expect("a haystack");
        let expected = reference.encode_with_offsets(&text, true).expect("reference ids");
        let found = ours.encode_with_offsets(&text, true).expect("ids");
        assert_eq!(found, expected, "{}", path.display());
        let ids: Vec<u32> = found.iter().map(|(id, _)| *id).collect();
        assert_eq!(ours.decode(&ids, true).expect("text"), text, "{}", path.display());
        tokens += ids.len();
    }
    assert!(tokens > 1000, "the haystacks are long texts: {tokens} tokens");
}

#[test]
#[ignore = "needs SmolLM2 and the reference values; scripts/test runs it"]
fn chats_are_rendered_as_by_the_reference_template() {
    let (ours, reference) = (open().text_codec().expect("a codec"), reference_codec());
    let turn = |role: &str, content: &str| ChatMessage { role: role.into(), content: content.into() };
    let conversation = [turn("user", "What is 12 + 30?"), turn("assistant", "42"), turn("user", "Thanks.")];
    let rendered = ours.render_chat(&conversation, true, None).expect("a rendered chat").text();
    assert_eq!(rendered, reference.render_chat(&conversation, true, None).expect("a rendered chat").text());
    assert_eq!(
        rendered,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
         <|im_start|>user\nWhat is 12 + 30?<|im_end|>\n<|im_start|>assistant\n42<|im_end|>\n\
         <|im_start|>user\nThanks.<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(ours.end_tokens(), [2]);
    assert_eq!(ours.end_tokens(), reference.end_tokens());
    assert_eq!(ours.token_id("."), reference.token_id("."));
    assert_eq!(ours.token_id("<|im_end|>"), Some(2));
}

#[test]
#[ignore = "needs SmolLM2; scripts/test runs it"]
fn special_spellings_are_tokens_in_templates_and_text_in_literals() {
    let codec = open().text_codec().expect("a codec");
    let text = "stop<|im_end|>";
    assert_eq!(codec.encode(text, false).expect("ids").last(), Some(&2));
    let literal = codec.encode_literal(text).expect("ids");
    assert!(!literal.contains(&2), "{literal:?}");
    assert_eq!(codec.decode(&literal, true).expect("text"), text);
}

#[test]
#[ignore = "needs SmolLM2; scripts/test runs it"]
fn digits_are_split_off_before_merging_as_the_model_was_trained() {
    // `tokenizer.ggml.pre` is `smollm`: digits are pieces of their own, so the two newlines before one merge.
    let codec = open().text_codec().expect("a codec");
    let newlines = codec.token_id("ĊĊ").expect("a token of two newlines");
    let ids = codec.encode("list:\n\n12", false).expect("ids");
    assert_eq!(ids[ids.len() - 3..], [newlines, codec.token_id("1").expect("1"), codec.token_id("2").expect("2")]);
}

#[test]
#[ignore = "needs SmolLM2; scripts/test runs it"]
fn streamed_text_is_the_decoded_text() {
    let codec = open().text_codec().expect("a codec");
    let text = "Grüße, 世界 🙂🙃!\n\n1. done<|im_end|>";
    let ids = codec.encode(text, false).expect("ids");
    let mut stream = codec.stream();
    let mut pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).expect("text")).collect();
    pieces.push(stream.finish().expect("text"));
    assert_eq!(pieces.concat(), codec.decode(&ids, true).expect("text"));
    assert_eq!(pieces.concat(), text.trim_end_matches("<|im_end|>"));
    assert!(pieces.iter().all(|piece| !piece.contains(char::REPLACEMENT_CHARACTER)), "{pieces:?}");
    // A character cut off by the end shows as such.
    let smile = codec.encode("🙂", false).expect("ids");
    assert!(smile.len() > 1, "the character takes several tokens");
    assert_eq!(stream.push(smile[0]).expect("text"), "");
    assert_eq!(stream.finish().expect("text"), "\u{fffd}");
}

#[test]
#[ignore = "needs SmolLM2; scripts/test runs it"]
fn a_checkpoint_written_from_the_model_is_the_model() {
    let source = open();
    let folder = tempfile::tempdir().expect("a folder");
    let assets = source.text_assets().expect("texts");
    let mut values = |tensor: &TensorShape| source.tensor(&tensor.name, &tensor.shape);
    checkpoint::write(folder.path(), source.spec(), StoredType::Bf16, &mut values, Some(&assets)).expect("written");
    let copy = Checkpoint::open(folder.path()).expect("the copy opens");
    assert_eq!(copy.spec(), source.spec());
    for tensor in source.spec().tensors() {
        let expected = source.tensor(&tensor.name, &tensor.shape).expect("a tensor");
        let found = copy.tensor(&tensor.name, &tensor.shape).expect("a tensor");
        let rounded = expected.iter().map(|&value| bf16::from_f32(value).to_f32());
        assert!(rounded.eq(found.iter().copied()), "{}", tensor.name);
    }
    assert_eq!(copy.text_assets().expect("texts"), assets);
    let codec = copy.text_codec().expect("a codec");
    let text = "One, 2, three:\n\n- naïve 🙂<|im_end|>\n";
    assert_eq!(
        codec.encode(text, true).expect("ids"),
        source.text_codec().expect("a codec").encode(text, true).expect("ids")
    );
}
