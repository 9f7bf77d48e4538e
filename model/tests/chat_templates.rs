//! Conversations are rendered and encoded as transformers does it: `scripts/render-chats` wrote the expected texts
//! and ids.

#[path = "support/chats.rs"]
mod chats;

use std::fs;

use chats::{Message, conversation, differences, folder, tiny_texts};
use retmask_model::text::{ChatMessage, TextAssets, TextCodec};
use retmask_model::{Fault, ModelError};
use serde::Deserialize;
use serde_json::json;

#[test]
fn templates_render_as_in_transformers() {
    let (count, differing) = differences();
    assert_eq!(count, 192, "every template, conversation and setting");
    assert!(differing.is_empty(), "{} of {count} differ\n{}", differing.len(), differing.join("\n"));
}

#[derive(Deserialize)]
struct Encoded {
    messages: Vec<Message>,
    ids: Vec<u32>,
}

#[test]
fn control_tokens_spelt_out_in_a_message_are_text() {
    let text = fs::read_to_string(folder().join("encoded.json")).expect("encoded.json");
    let rows: Vec<Encoded> = serde_json::from_str(&text).expect("rows");
    assert!(rows.len() >= 12, "{} rows", rows.len());
    let codec = TextCodec::new(&tiny_texts()).expect("a codec");
    let [start, end] = ["<|im_start|>", "<|im_end|>"].map(|token| codec.token_id(token).expect("a control token"));
    for row in &rows {
        let messages = conversation(&row.messages);
        let chat = codec.render_chat(&messages, true, None).expect("a chat");
        let ids = codec.encode_chat(&chat).expect("ids");
        assert_eq!(ids, row.ids, "{:?}", chat.text());
        // One pair per turn, and the opening of the answer, whatever the messages say.
        let count = |token| ids.iter().filter(|id| **id == token).count();
        assert_eq!((count(start), count(end)), (messages.len() + 1, messages.len()));
        assert_eq!(codec.decode(&ids, false).expect("text"), chat.text());
    }
}

#[test]
fn a_conversation_without_spellings_is_encoded_like_its_text() {
    let codec = TextCodec::new(&tiny_texts()).expect("a codec");
    let turn = |role: &str, content: &str| ChatMessage { role: role.into(), content: content.into() };
    let chat = codec.render_chat(&[turn("user", "Repeat: ta ko <|im"), turn("assistant", "|>")], true, None);
    let chat = chat.expect("a chat");
    assert_eq!(codec.encode_chat(&chat).expect("ids"), codec.encode(&chat.text(), false).expect("ids"));
    let first = codec.render_chat(&[turn("user", "Repeat: ta ko <|im")], true, None).expect("a chat");
    let rest = chat.strip_prefix(&first).expect("the conversation goes on");
    assert_eq!(rest.text(), "|><|im_end|>\n<|im_start|>assistant\n");
}

/// The tokenizer with one more added token that is not special.
fn with_added_token(texts: &TextAssets, content: &str, template: &str) -> TextAssets {
    let mut tokenizer: serde_json::Value = serde_json::from_str(&texts.tokenizer).expect("JSON");
    let id = tokenizer["model"]["vocab"].as_object().expect("a vocabulary").len();
    let token = json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": false});
    tokenizer["added_tokens"].as_array_mut().expect("a list").push(token);
    TextAssets { tokenizer: tokenizer.to_string(), chat_template: Some(template.into()), ..texts.clone() }
}

#[test]
fn added_tokens_that_the_template_spells_out_are_control_tokens_too() {
    let texts = tiny_texts();
    let turn = [ChatMessage { role: "user".into(), content: "<think>".into() }];
    let encoded = |template: &str| {
        let codec = TextCodec::new(&with_added_token(&texts, "<think>", template)).expect("a codec");
        let ids = codec.encode_chat(&codec.render_chat(&turn, true, None).expect("a chat")).expect("ids");
        let token = codec.token_id("<think>").expect("the added token");
        ids.into_iter().filter(|id| *id == token).count()
    };
    assert_eq!(encoded("{{ messages[0].content }}|<think>"), 1, "the template's own");
    assert_eq!(encoded("{{ messages[0].content }}|"), 1, "a word of the user like any other");
    assert_eq!(encoded("{% if add_generation_prompt %}{{ messages[0].content }}{% else %}<think>{% endif %}"), 0);
}

#[test]
fn a_spelling_that_cannot_be_kept_apart_is_refused() {
    // With `ignore_merges` a piece that is in the vocabulary is its token, however it came about.
    let texts = tiny_texts();
    let mut tokenizer: serde_json::Value = serde_json::from_str(&texts.tokenizer).expect("JSON");
    tokenizer["model"]["ignore_merges"] = json!(true);
    tokenizer["pre_tokenizer"]["use_regex"] = json!(false);
    let codec = TextCodec::new(&TextAssets { tokenizer: tokenizer.to_string(), ..texts }).expect("a codec");
    let ids = codec.encode_literal("<|im_end|>").expect("ids");
    assert_eq!(ids, [codec.token_id("<|im_end|>").expect("a control token")]);
    let turn = [ChatMessage { role: "user".into(), content: "a <|im_end|>".into() }];
    let chat = codec.render_chat(&turn, true, None).expect("a chat");
    // Behind the newline that hides the start of a text, the piece is another one.
    let outcome: Result<Vec<u32>, ModelError> = codec.encode_chat(&chat);
    match outcome {
        Ok(ids) => assert_eq!(ids.iter().filter(|id| **id == 2).count(), 1),
        Err(error) => {
            assert_eq!(error.fault, Fault::Input);
            assert!(error.message.contains("cannot be told from the control token"), "{}", error.message);
        }
    }
}

#[test]
fn a_template_on_which_the_engine_panics_is_refused() {
    let texts = TextAssets { chat_template: Some("{{ messages[0].content[::-1] }}".into()), ..tiny_texts() };
    let codec = TextCodec::new(&texts).expect("a codec");
    let render = |content: &str| {
        let turn = [ChatMessage { role: "user".into(), content: content.into() }];
        codec.render_chat(&turn, true, None).map(|chat| chat.text())
    };
    assert_eq!(render("abc").expect("a chat"), "cba");
    let error = render("").expect_err("refused");
    assert_eq!(error.fault, Fault::Input);
    assert!(error.message.contains("the template engine fails on it"), "{}", error.message);
}

#[test]
fn the_end_of_sequence_is_the_tokenizers_own() {
    let texts = tiny_texts();
    // As Llama-3.1's files have it: several end tokens, the tokenizer's not the first.
    let several = TextAssets { end_tokens: vec![0, 2], ..texts.clone() };
    let codec = TextCodec::new(&several).expect("a codec");
    assert_eq!((codec.end_tokens(), codec.end_of_sequence()), (&[0, 2][..], Some(2)));
    let silent = TextAssets { tokenizer_config: None, ..several };
    assert_eq!(TextCodec::new(&silent).expect("a codec").end_of_sequence(), Some(0));
    let none = TextAssets { end_tokens: Vec::new(), ..silent };
    assert_eq!(TextCodec::new(&none).expect("a codec").end_of_sequence(), None);
}
