//! Prompt templates: the wording of a benchmark as data.
//!
//! A template file is a JSON object: dataset name -> part name -> text. A name may end in `*` and then stands
//! for every dataset that begins with what is before it. Parts hold fields `{name}`; `{{` and `}}` are braces.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::contract::{StageError, StageResult};

/// The benchmark's wording of each dataset, by the first eight bytes of a SHA-256 over its parts in the order of their
/// names, each name and text with a zero byte behind it. So a run knows whose words it used without having them.
const BENCHMARK: &[(&str, &str)] = &[
    ("json_kv", "312867bc8eb3d2c7"),
    ("ruler_niah_mk_2", "fa171e18928c1c61"),
    ("ruler_niah_mk_3", "fa171e18928c1c61"),
    ("ruler_niah_mv", "1175c9055b8e04c2"),
    ("kilt_nq", "34515252ec51b5ed"),
    ("kilt_triviaqa", "34515252ec51b5ed"),
    ("kilt_hotpotqa", "34515252ec51b5ed"),
    ("kilt_popqa_3", "34515252ec51b5ed"),
    ("alce_asqa", "720659178b84d4b4"),
    ("alce_qampari", "720659178b84d4b4"),
    ("msmarco_rerank_psg", "5f733e0b231b7229"),
    ("narrativeqa", "479e2468a675c9f3"),
    ("infbench_qa_eng", "bad34ee1e3e23c83"),
    ("infbench_choice_eng", "b4e5669e738324b1"),
    ("infbench_sum_eng", "2d3a6ca7205704d9"),
    ("multi_lexsum", "dd74683ee643889d"),
    ("icl_trec_coarse", ICL),
    ("icl_trec_fine", ICL),
    ("icl_banking77", ICL),
    ("icl_clinic150", ICL),
    ("icl_nlu", ICL),
];
const ICL: &str = "cf1057eb4c4edf8e";
/// Parts that do not decide whose wording it is: remarks, and wordings that no data of the benchmark use.
const BESIDE: [&str; 2] = ["note", "passage_if_title_field"];

/// Values to put into a template, by field name.
pub type Fields = BTreeMap<&'static str, String>;

/// The wordings of all datasets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates {
    /// Where they came from, for messages.
    place: String,
    datasets: BTreeMap<String, BTreeMap<String, String>>,
}

/// The wording of one dataset.
#[derive(Debug, Clone)]
pub struct Template<'a> {
    place: &'a str,
    dataset: &'a str,
    parts: &'a BTreeMap<String, String>,
}

impl Templates {
    /// The project's own wording: HELMET's structure in other words.
    ///
    /// # Errors
    /// `Internal` when the built-in file is malformed.
    pub fn own() -> StageResult<Self> {
        Self::from_json(include_str!("templates.json"), "the built-in templates")
            .map_err(|error| StageError::internal(error.message))
    }

    /// Reads a template file.
    ///
    /// # Errors
    /// As [`Templates::from_json`]; `Environment` when it cannot be read.
    pub fn read(path: &Path) -> StageResult<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| StageError::io("read", path, &error))?;
        Self::from_json(&text, &path.display().to_string())
    }

    /// Reads a template file's content; `place` names it in messages.
    ///
    /// # Errors
    /// `Input` when it is not an object of objects of texts.
    pub fn from_json(text: &str, place: &str) -> StageResult<Self> {
        let datasets = serde_json::from_str(text).map_err(|error| {
            StageError::input(format!("{place}: templates are a JSON object {{dataset: {{part: text}}}}: {error}"))
        })?;
        Ok(Self { place: place.into(), datasets })
    }

    /// The wording of a dataset: by its own name, else by the longest `prefix*`.
    ///
    /// # Errors
    /// `Input` when there is none.
    pub fn of<'a>(&'a self, dataset: &'a str) -> StageResult<Template<'a>> {
        let by_prefix = || {
            let matching = self
                .datasets
                .iter()
                .filter(|(name, _)| name.strip_suffix('*').is_some_and(|prefix| dataset.starts_with(prefix)));
            matching.max_by_key(|(name, _)| name.len()).map(|(_, parts)| parts)
        };
        let parts = self.datasets.get(dataset).or_else(by_prefix).ok_or_else(|| {
            let names: Vec<&str> = self.datasets.keys().map(String::as_str).collect();
            StageError::input(format!("{} hold no template for {dataset}; they have: {}", self.place, names.join(", ")))
        })?;
        Ok(Template { place: &self.place, dataset, parts })
    }
}

impl Template<'_> {
    /// Whether this is the benchmark's own wording of the dataset.
    pub fn is_benchmarks(&self) -> bool {
        let mut hash = Sha256::new();
        for (name, text) in self.parts.iter().filter(|(name, _)| !BESIDE.contains(&name.as_str())) {
            for part in [name, text] {
                hash.update(part.as_bytes());
                hash.update([0]);
            }
        }
        let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        BENCHMARK.contains(&(self.dataset, digest.as_str()))
    }

    /// The text of a part, as it stands.
    ///
    /// # Errors
    /// `Input` when the template has no such part.
    pub fn part(&self, name: &str) -> StageResult<&str> {
        self.optional_part(name).ok_or_else(|| {
            let names: Vec<&str> = self.parts.keys().map(String::as_str).collect();
            let (place, dataset) = (self.place, self.dataset);
            StageError::input(format!("{place}: {dataset} needs the part `{name}`; it has: {}", names.join(", ")))
        })
    }

    /// The text of a part that may be absent.
    pub fn optional_part(&self, name: &str) -> Option<&str> {
        self.parts.get(name).map(String::as_str)
    }

    /// A part with its fields filled in.
    ///
    /// # Errors
    /// `Input` when the part is missing, a brace is not closed, or a field is unknown.
    pub fn render(&self, part: &str, fields: &Fields) -> StageResult<String> {
        fill_in(self.part(part)?, fields)
            .map_err(|reason| StageError::input(format!("{}: {}, part `{part}`: {reason}", self.place, self.dataset)))
    }
}

/// Fills in the fields of a text.
pub(crate) fn fill_in(text: &str, fields: &Fields) -> Result<String, String> {
    let mut rendered = String::with_capacity(text.len() + fields.values().map(String::len).sum::<usize>());
    let mut rest = text;
    while let Some(place) = rest.find(['{', '}']) {
        rendered.push_str(&rest[..place]);
        let from_brace = &rest[place..];
        if let Some(after) = from_brace.strip_prefix("{{") {
            rendered.push('{');
            rest = after;
        } else if let Some(after) = from_brace.strip_prefix("}}") {
            rendered.push('}');
            rest = after;
        } else if let Some((name, after)) = from_brace.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            let value = fields.get(name).ok_or_else(|| {
                let names: Vec<&str> = fields.keys().copied().collect();
                format!("there is no field {{{name}}}; there are: {}", names.join(", "))
            })?;
            rendered.push_str(value);
            rest = after;
        } else {
            return Err(format!("a lone brace at `{}`; write {{{{ or }}}} for a brace", first_words(from_brace)));
        }
    }
    rendered.push_str(rest);
    Ok(rendered)
}

fn first_words(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields::from([("key", "owl".into()), ("value", "{bee}".into())])
    }

    #[test]
    fn fields_are_filled_in_once_and_double_braces_are_braces() {
        assert_eq!(fill_in("{key}: {{{value}}} {{key}}", &fields()).unwrap(), "owl: {{bee}} {key}");
        assert!(fill_in("{kee}", &fields()).unwrap_err().contains("there are: key, value"));
        assert!(fill_in("{key", &fields()).unwrap_err().contains("a lone brace"));
        assert!(fill_in("key}", &fields()).unwrap_err().contains("a lone brace"));
    }

    #[test]
    fn the_longest_matching_prefix_serves_a_dataset_without_its_own_template() {
        let text = r#"{"icl_*": {"joiner": "a"}, "icl_trec_*": {"joiner": "b"}, "icl_nlu": {"joiner": "c"}}"#;
        let templates = Templates::from_json(text, "t.json").unwrap();
        let joiner = |dataset: &str| templates.of(dataset).unwrap().part("joiner").unwrap().to_owned();
        assert_eq!([joiner("icl_nlu"), joiner("icl_trec_fine"), joiner("icl_banking77")], ["c", "b", "a"]);
        assert!(templates.of("json_kv").unwrap_err().message.contains("no template for json_kv; they have: icl_*"));
        let missing = templates.of("icl_nlu").unwrap().part("demo").unwrap_err();
        assert_eq!(missing.message, "t.json: icl_nlu needs the part `demo`; it has: joiner");
    }

    #[test]
    fn malformed_files_are_refused_by_name() {
        let error = Templates::from_json("{\"a\": 1}", "t.json").unwrap_err();
        assert!(error.message.starts_with("t.json: templates are a JSON object"), "{}", error.message);
    }
}
