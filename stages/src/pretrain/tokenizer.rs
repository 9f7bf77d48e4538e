//! The text files of the embedded model: `tokenizer.json` as the `tokenizers` library reads it, and the chat
//! template.

use retmask_model::text::TextAssets;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::json;

use super::byte_pairs::{BytePairs, SPECIAL_TOKENS};
use crate::contract::{StageError, StageResult};

/// Turns between `<|im_start|>` and `<|im_end|>`, as in ChatML; no system turn is added.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + \
    message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// `<|endoftext|>` fills batches.
const PADDING: u32 = 0;
/// `<|im_end|>` ends a turn, and so a generation.
const END_OF_TURN: u32 = 2;

/// Words of the prompts of this program's stages, kept whole so that prompts stay short. Words made of
/// syllables only (` to`, ` data`, ` memorize`) are left to their syllables.
const PROMPT_WORDS: &[&str] = &[
    "user",
    "assistant",
    "book",
    "Based",
    " on",
    " the",
    " content",
    " of",
    " book",
    " Question",
    "Question",
    "Answer",
    "What",
    " What",
    " is",
    " are",
    "The",
    " The",
    "the",
    " and",
    " in",
    " was",
    " for",
    " does",
    "Repeat",
    " these",
    " words",
    " says",
    " say",
    "JSON",
    "Extract",
    " corresponding",
    " value",
    " specified",
    " key",
    " object",
    " below",
    "Key",
    "Corresponding",
    " special",
    " magic",
    " number",
    " numbers",
    " hidden",
    " within",
    " following",
    " text",
    "Make",
    " it",
    " will",
    " quiz",
    " you",
    " about",
    " afterwards",
    " mentioned",
    " provided",
    "One",
    "Some",
    " all",
    "label",
    "</",
    "\":",
    " \"",
    "\",",
    "\n   ",
];

/// A map written in the order of its entries.
struct OrderedVocabulary<'a>(&'a [String]);

impl Serialize for OrderedVocabulary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, token) in self.0.iter().enumerate() {
            map.serialize_entry(token, &id)?;
        }
        map.end()
    }
}

/// The parts of `tokenizer.json`, in its usual order.
#[derive(serde::Serialize)]
struct TokenizerFile<'a> {
    version: &'static str,
    truncation: Option<()>,
    padding: Option<()>,
    added_tokens: Vec<serde_json::Value>,
    normalizer: Option<()>,
    pre_tokenizer: serde_json::Value,
    post_processor: Option<()>,
    decoder: serde_json::Value,
    model: BytePairModel<'a>,
}

#[derive(serde::Serialize)]
struct BytePairModel<'a> {
    r#type: &'static str,
    dropout: Option<f32>,
    unk_token: Option<&'static str>,
    continuing_subword_prefix: Option<&'static str>,
    end_of_word_suffix: Option<&'static str>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: OrderedVocabulary<'a>,
    merges: &'a [(String, String)],
}

/// How many tokens there are.
pub fn vocabulary_size() -> usize {
    BytePairs::build(PROMPT_WORDS).tokens().len()
}

/// The text files of the embedded model. They depend on nothing.
///
/// # Errors
/// `Internal` when they cannot be put in words, which no input causes.
pub fn text_assets(context_length: usize) -> StageResult<TextAssets> {
    let pairs = BytePairs::build(PROMPT_WORDS);
    let byte_level =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true });
    let added_tokens = SPECIAL_TOKENS
        .iter()
        .enumerate()
        .map(|(id, content)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    let file = TokenizerFile {
        version: "1.0",
        truncation: None,
        padding: None,
        added_tokens,
        normalizer: None,
        pre_tokenizer: byte_level.clone(),
        post_processor: None,
        decoder: byte_level,
        model: BytePairModel {
            r#type: "BPE",
            dropout: None,
            unk_token: None,
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab: OrderedVocabulary(pairs.tokens()),
            merges: pairs.merges(),
        },
    };
    let failed = |error: serde_json::Error| StageError::internal(format!("the tokenizer cannot be written: {error}"));
    let tokenizer_config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": SPECIAL_TOKENS[END_OF_TURN as usize],
        "pad_token": SPECIAL_TOKENS[PADDING as usize],
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": false,
    });
    Ok(TextAssets {
        tokenizer: serde_json::to_string(&file).map_err(failed)?,
        tokenizer_config: Some(serde_json::to_string_pretty(&tokenizer_config).map_err(failed)?),
        chat_template: Some(CHAT_TEMPLATE.to_string()),
        generation_config: None,
        begin_token: None,
        end_tokens: vec![END_OF_TURN],
        padding_token: Some(PADDING),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::language::Split;
    use crate::synthetic::text;
    use retmask_model::random::Stream;
    use retmask_model::text::{ChatMessage, TextCodec};

    fn codec() -> TextCodec {
        TextCodec::new(&text_assets(1_024).unwrap()).unwrap()
    }

    #[test]
    fn any_text_comes_back_from_its_tokens() {
        let codec = codec();
        for text in
            ["The bako of temi is ruda lofo.", "{\"a1-f0\": \"x\"}\n\n    é 漢字 🙂 \u{0}\u{7f}", "", "  ", "12345"]
        {
            assert_eq!(codec.decode(&codec.encode(text, false).unwrap(), false).unwrap(), text);
        }
    }

    #[test]
    fn generated_text_takes_the_estimated_tokens() {
        let codec = codec();
        let mut stream = Stream::derive(1, &[b"tokenizer"]);
        for split in [Split::Training, Split::HeldOut] {
            // The first word of a sentence is one of the language or a function word, all of which have a token
            // with a leading space.
            let passage = format!(" {}", text::passage(&mut stream, split, 300, &[]));
            let tokens = codec.encode(&passage, false).unwrap().len();
            assert_eq!(tokens, text::token_estimate(&passage), "{passage}");
        }
    }

    #[test]
    fn the_chat_template_renders_what_training_texts_spell_out() {
        let codec = codec();
        let message = |role: &str, content: &str| ChatMessage { role: role.into(), content: content.into() };
        let prompt = codec.render_chat(&[message("user", "Repeat.\nNow.")], true, None).unwrap();
        assert_eq!(prompt.text(), "<|im_start|>user\nRepeat.\nNow.<|im_end|>\n<|im_start|>assistant\n");
        let both = codec.render_chat(&[message("user", "a"), message("assistant", "b")], false, None).unwrap();
        assert_eq!(both.text(), "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n");
        assert_eq!(codec.end_tokens(), [codec.token_id("<|im_end|>").unwrap()]);
    }

    #[test]
    fn prompt_words_are_one_token() {
        let codec = codec();
        for word in PROMPT_WORDS {
            let tokens = codec.encode(word, false).unwrap();
            assert_eq!(tokens.len(), 1, "`{word}` is {tokens:?}");
        }
    }
}
