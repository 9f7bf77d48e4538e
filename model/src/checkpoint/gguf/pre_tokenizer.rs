//! How text is split before byte-pair merging: the rules that have a name in GGUF files (`tokenizer.ggml.pre`).

use serde_json::{Value, json};

use crate::checkpoint::byte_reader::Reason;

/// The splitting rules behind a name.
pub(super) struct PreTokenizer {
    pub normalizer: Value,
    pub pre_tokenizer: Value,
    /// A piece that is a token by itself is not merged from its bytes.
    pub ignore_merges: bool,
    pub add_begin_token: bool,
}

/// One name for each set of rules.
const NAMES: [&str; 6] = ["gpt-2", "smollm", "llama-bpe", "qwen2", "dbrx", "tekken"];

/// The rules of this name. The patterns are those of the models' own tokenizer.json files.
pub(super) fn by_name(name: Option<&str>) -> Result<PreTokenizer, Reason> {
    let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    let words = r"[^\r\n\p{L}\p{N}]?\p{L}+";
    let rest = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let split = |pattern: String| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            byte_level(false, false),
        ]})
    };
    let with_digits = |digits: &str| split(format!("{contractions}|{words}|{digits}|{rest}"));
    let plain = |pre_tokenizer| PreTokenizer {
        normalizer: Value::Null,
        pre_tokenizer,
        ignore_merges: false,
        add_begin_token: false,
    };
    match name {
        Some("gpt-2") => Ok(plain(byte_level(false, true))),
        Some("smollm") => Ok(plain(json!({"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            byte_level(false, true),
        ]}))),
        Some("llama-bpe" | "llama3" | "llama-v3") => {
            Ok(PreTokenizer { ignore_merges: true, add_begin_token: true, ..plain(with_digits(r"\p{N}{1,3}")) })
        }
        Some("dbrx") => Ok(plain(with_digits(r"\p{N}{1,3}"))),
        Some("qwen2") => Ok(PreTokenizer { normalizer: json!({"type": "NFC"}), ..plain(with_digits(r"\p{N}")) }),
        Some("tekken") => {
            let (upper, lower) = (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]");
            let before = r"[^\r\n\p{L}\p{N}]?";
            let rest = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
            let pattern = format!(r"{before}{upper}*{lower}+|{before}{upper}+{lower}*|\p{{N}}|{rest}");
            Ok(PreTokenizer { ignore_merges: true, add_begin_token: true, ..plain(split(pattern)) })
        }
        Some(other) => {
            Err(format!("the pre-tokenizer `{other}` (tokenizer.ggml.pre) is not supported; {} are", NAMES.join(", ")))
        }
        None => Err("the metadata key `tokenizer.ggml.pre` is missing: how text is split cannot be known".into()),
    }
}

/// The name of these rules of a tokenizer.json, where they have one.
pub(super) fn name_of(normalizer: &Value, pre_tokenizer: &Value, ignore_merges: bool) -> Option<&'static str> {
    let same = |one: &Value, other: &Value| essence(one) == essence(other);
    NAMES.into_iter().find(|name| {
        by_name(Some(name)).is_ok_and(|rules| {
            rules.ignore_merges == ignore_merges
                && same(&rules.normalizer, normalizer)
                && same(&rules.pre_tokenizer, pre_tokenizer)
        })
    })
}

/// Rules without what changes no token: offsets, and a sequence around a single step.
fn essence(rules: &Value) -> Value {
    match rules {
        Value::Object(fields) => {
            let steps = fields.get("pretokenizers").or_else(|| fields.get("normalizers")).and_then(Value::as_array);
            match steps.map(Vec::as_slice) {
                Some([step]) => essence(step),
                _ => {
                    let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
                    fields.retain(|(name, _)| *name != "trim_offsets");
                    fields.sort_by_key(|(name, _)| *name);
                    fields.into_iter().map(|(name, value)| (name.clone(), essence(value))).collect()
                }
            }
        }
        Value::Array(items) => items.iter().map(essence).collect(),
        other => other.clone(),
    }
}

pub(super) fn byte_level(add_prefix_space: bool, use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": use_regex})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_again_by_its_rules() {
        for name in NAMES {
            let rules = by_name(Some(name)).expect("a known name");
            assert_eq!(name_of(&rules.normalizer, &rules.pre_tokenizer, rules.ignore_merges), Some(name));
        }
    }

    #[test]
    fn rules_are_known_however_they_are_written() {
        // As Qwen's own file has them: other offsets, a sequence of one normaliser, keys in another order.
        let normalizer = json!({"normalizers": [{"type": "NFC"}], "type": "Sequence"});
        let mut rules = by_name(Some("qwen2")).expect("a known name").pre_tokenizer;
        rules["pretokenizers"][1]["trim_offsets"] = json!(false);
        assert_eq!(name_of(&normalizer, &rules, false), Some("qwen2"));
        assert_eq!(name_of(&Value::Null, &rules, false), None, "without its normaliser it splits otherwise");
        rules["pretokenizers"][1]["add_prefix_space"] = json!(true);
        assert_eq!(name_of(&normalizer, &rules, false), None);
    }
}
