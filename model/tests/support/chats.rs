//! Conversations rendered by transformers (`scripts/render-chats`), and by the program.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use retmask_model::Fault;
use retmask_model::text::{ChatMessage, TextAssets, TextCodec};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
pub struct Message {
    role: String,
    content: String,
}

#[derive(Deserialize)]
struct Renders {
    conversations: Vec<Vec<Message>>,
    renders: Vec<Render>,
}

#[derive(Deserialize)]
struct Render {
    template: String,
    conversation: usize,
    add_generation_prompt: bool,
    thinking: Option<bool>,
    /// `None` where the template refuses the conversation.
    text: Option<String>,
}

/// The conversation as the program takes it.
pub fn conversation(messages: &[Message]) -> Vec<ChatMessage> {
    let turn = |message: &Message| ChatMessage { role: message.role.clone(), content: message.content.clone() };
    messages.iter().map(turn).collect()
}

/// The text files of the built-in model.
pub fn tiny_texts() -> TextAssets {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in retmask_model::embedded::find("tiny").expect("the built-in model") {
        fs::write(folder.path().join(name), bytes).expect("written");
    }
    TextAssets::read(folder.path()).expect("texts")
}

fn codec(template: &Path) -> TextCodec {
    let tokens = json!({"bos_token": "<|bos|>", "eos_token": {"content": "<|eos|>", "lstrip": false},
        "pad_token": "<|pad|>", "unk_token": "<|unk|>"});
    let assets = TextAssets {
        chat_template: Some(fs::read_to_string(template).expect("a template")),
        tokenizer_config: Some(tokens.to_string()),
        ..tiny_texts()
    };
    TextCodec::new(&assets).unwrap_or_else(|error| panic!("{}: {error}", template.display()))
}

/// Where our own templates lie, and what transformers makes of them.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat")
}

fn renders() -> Renders {
    let text = fs::read_to_string(folder().join("renders.json")).expect("renders.json; scripts/render-chats writes it");
    serde_json::from_str(&text).expect("renders")
}

fn rendered(
    codec: &TextCodec,
    messages: &[Message],
    add_generation_prompt: bool,
    thinking: Option<bool>,
) -> Result<String, String> {
    match codec.render_chat(&conversation(messages), add_generation_prompt, thinking) {
        Ok(chat) => Ok(chat.text()),
        Err(error) => {
            assert_eq!(error.fault, Fault::Input, "{}", error.message);
            Err(error.message)
        }
    }
}

/// The digest of all texts that a template makes of the conversations, as `scripts/render-chats --released` takes it.
pub fn digest(template: &Path) -> String {
    let codec = codec(template);
    let knows_thinking = fs::read_to_string(template).expect("a template").contains("enable_thinking");
    let settings = if knows_thinking { &[None, Some(false), Some(true)][..] } else { &[None] };
    let mut hasher = blake3::Hasher::new();
    for messages in &renders().conversations {
        for generate in [false, true] {
            for thinking in settings {
                match rendered(&codec, messages, generate, *thinking) {
                    Ok(text) => hasher.update(&[1]).update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes()),
                    Err(_) => hasher.update(&[0]),
                };
            }
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Compares every render of our own templates; gives how many, and what differs.
pub fn differences() -> (usize, Vec<String>) {
    let (folder, renders) = (folder(), renders());
    let mut codecs: BTreeMap<&str, TextCodec> = BTreeMap::new();
    let mut differing = Vec::new();
    for render in &renders.renders {
        let codec = codecs.entry(&render.template).or_insert_with(|| codec(&folder.join(&render.template)));
        let messages = &renders.conversations[render.conversation];
        let found = rendered(codec, messages, render.add_generation_prompt, render.thinking);
        if found.as_ref().ok() != render.text.as_ref() {
            differing.push(format!(
                "{}, conversation {}, thinking {:?}:\n  transformers {:?}\n  here         {found:?}",
                render.template, render.conversation, render.thinking, render.text
            ));
        }
    }
    (renders.renders.len(), differing)
}
