//! Where HELMET's program has each part of its wording (commit 4526dfb).

use std::fmt;

use super::python::{Statement, Token};

/// A string constant by its place.
#[derive(Debug, Clone, Copy)]
pub struct Constant {
    pub function: &'static str,
    under: Option<Under>,
    place: Place,
    pick: Pick,
    /// Put in front: a field that the program adds by other means than a template.
    front: &'static str,
    /// Fields as the program writes them, and as templates have them.
    pub renames: &'static [(&'static str, &'static str)],
}

/// The condition a statement stands under.
#[derive(Debug, Clone, Copy)]
enum Under {
    /// One that asks for this text.
    Text(&'static str),
    /// An `else`.
    Else,
}

/// Which statement it is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// `name = …`
    Assigned(&'static str),
    /// `name = ….join(…)` or `name += ….join(…)`
    Joined(&'static str),
    /// `name += …`
    Added(&'static str),
    /// `"name": …` of an object; texts before it do not count.
    Entry(&'static str),
}

/// Which of the statement's texts it is.
#[derive(Debug, Clone, Copy)]
enum Pick {
    Text(usize),
    Last,
    /// What stands before a field.
    Before(&'static str),
    /// What stands after a field.
    After(&'static str),
}

impl Constant {
    const fn new(function: &'static str, place: Place, pick: Pick) -> Self {
        Self { function, under: None, place, pick, front: "", renames: &[] }
    }

    const fn under(self, text: &'static str) -> Self {
        Self { under: Some(Under::Text(text)), ..self }
    }

    const fn renamed(self, renames: &'static [(&'static str, &'static str)]) -> Self {
        Self { renames, ..self }
    }

    /// Whether the conditions around a statement are the constant's.
    pub fn is_under(&self, headers: &[Statement]) -> bool {
        match self.under {
            None => true,
            Some(Under::Text(text)) => headers.iter().any(|header| header.texts().contains(&text)),
            Some(Under::Else) => headers.last().is_some_and(|header| header.begins_with("else")),
        }
    }

    /// The part of a statement in which the texts count, where it is the one meant.
    pub fn tokens<'a>(&self, statement: &'a Statement) -> Option<&'a [Token]> {
        let tokens = statement.tokens.as_slice();
        let sign = |token: Option<&Token>, sign: char| token == Some(&Token::Sign(sign));
        let named = |name: &str| matches!(tokens.first(), Some(Token::Word(word)) if word == name);
        let assigned = sign(tokens.get(1), '=') && !sign(tokens.get(2), '=');
        let added = sign(tokens.get(1), '+') && sign(tokens.get(2), '=');
        let joins = || tokens.contains(&Token::Word("join".into()));
        match self.place {
            Place::Assigned(name) => (named(name) && assigned).then(|| &tokens[2..]),
            Place::Joined(name) => (named(name) && (assigned || added) && joins()).then(|| &tokens[2..]),
            Place::Added(name) => (named(name) && added && !joins()).then(|| &tokens[3..]),
            Place::Entry(name) => {
                let pair = |pair: &[Token]| pair == [Token::Text(name.into()), Token::Sign(':')];
                tokens.windows(2).position(pair).map(|place| &tokens[place + 2..])
            }
        }
    }

    /// The constant, of a statement's texts; `None` when it is not among them.
    pub fn pick(&self, texts: &[&str]) -> Option<String> {
        let text = match self.pick {
            Pick::Text(place) => texts.get(place).copied(),
            Pick::Last => texts.last().copied(),
            Pick::Before(field) => texts.iter().find_map(|text| text.split_once(field)).map(|(before, _)| before),
            Pick::After(field) => texts.iter().find_map(|text| text.split_once(field)).map(|(_, after)| after),
        }?;
        Some(format!("{}{text}", self.front))
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Assigned(name) => write!(formatter, "`{name} = \"…\"`")?,
            Place::Joined(name) => write!(formatter, "`{name} = \"…\".join(…)`")?,
            Place::Added(name) => write!(formatter, "`{name} += \"…\"`")?,
            Place::Entry(name) => write!(formatter, "entry `\"{name}\": \"…\"`")?,
        }
        match self.under {
            None => Ok(()),
            Some(Under::Text(text)) => write!(formatter, " under a condition on \"{text}\""),
            Some(Under::Else) => write!(formatter, " under `else`"),
        }
    }
}

/// The names of datasets, and their parts.
type Dataset = (&'static [&'static str], &'static [(&'static str, Constant)]);

const fn assigned(function: &'static str, name: &'static str) -> Constant {
    Constant::new(function, Place::Assigned(name), Pick::Text(0))
}

const fn joined(function: &'static str, name: &'static str) -> Constant {
    Constant::new(function, Place::Joined(name), Pick::Text(0))
}

const fn entry(function: &'static str, name: &'static str, pick: Pick) -> Constant {
    Constant::new(function, Place::Entry(name), pick)
}

/// The user's part; what stands between it and the prefix; the prefix.
const USER: &str = "user_template";
const PREFIX: &str = "assistant_prefix";
const JOINER: &str = "nonchat_joiner";

const RULER: &str = "load_ruler";
const INFBENCH: &str = "load_infbench";

/// Every part of every dataset's wording, as the templates name them.
pub const DATASETS: &[Dataset] = &[
    (
        &["kilt_nq", "kilt_triviaqa", "kilt_hotpotqa", "kilt_popqa_3"],
        &[
            (USER, Constant { under: Some(Under::Else), ..assigned("load_qa", "user_template") }),
            (PREFIX, assigned("load_qa", "system_template")),
            (JOINER, assigned("load_qa", "prompt_template")),
            ("passage", assigned("load_qa", "passage_template")),
            ("demo", assigned("load_qa", "demo_template")),
            ("demo_separator", joined("load_qa", "demo_text")),
            ("demos_trailer", Constant { pick: Pick::Last, ..joined("load_qa", "demo_text") }),
            ("passage_separator", joined("load_qa", "passage_text")),
        ],
    ),
    (
        &["json_kv"],
        &[
            (USER, assigned("load_json_kv", "user_template")),
            (PREFIX, assigned("load_json_kv", "system_template")),
            (JOINER, assigned("load_json_kv", "prompt_template")),
            // The program puts a space before each value.
            ("demo", assigned("load_json_kv", "demo_template").renamed(&[(":{value}", ": {value}")])),
            ("demo_separator", entry("load_json_kv", "demos", Pick::Text(0))),
            ("demos_trailer", entry("load_json_kv", "demos", Pick::Text(3))),
        ],
    ),
    (
        &["narrativeqa"],
        &[
            (USER, assigned("load_narrativeqa", "user_template")),
            (PREFIX, assigned("load_narrativeqa", "system_template")),
            (JOINER, assigned("load_narrativeqa", "prompt_template")),
            ("demo_header", entry("load_narrativeqa", "demo", Pick::Text(1))),
            (
                "demo",
                entry("load_narrativeqa", "demo", Pick::Text(3))
                    .renamed(&[("{ex['question']['text']}", "{question}"), ("{ex['answers'][0]['text']}", "{answer}")]),
            ),
            ("demo_separator", entry("load_narrativeqa", "demo", Pick::Text(2))),
            ("demos_trailer", entry("load_narrativeqa", "demo", Pick::Text(5))),
        ],
    ),
    (
        &["multi_lexsum"],
        &[
            (USER, assigned("load_multi_lexsum", "user_template")),
            (PREFIX, assigned("load_multi_lexsum", "system_template")),
            (JOINER, assigned("load_multi_lexsum", "prompt_template")),
            ("demo_header", entry("load_multi_lexsum", "demo", Pick::Text(1))),
            ("demo", entry("load_multi_lexsum", "demo", Pick::Text(3)).renamed(&[("{}", "{summary_short}")])),
            ("demo_separator", entry("load_multi_lexsum", "demo", Pick::Text(2))),
            ("demos_trailer", entry("load_multi_lexsum", "demo", Pick::Text(5))),
        ],
    ),
    (
        &["msmarco_rerank_psg"],
        &[
            (USER, assigned("load_msmarco_rerank", "user_template")),
            (PREFIX, assigned("load_msmarco_rerank", "system_template")),
            (JOINER, assigned("load_msmarco_rerank", "prompt_template")),
            ("passage", Constant { pick: Pick::Last, ..assigned("load_msmarco_rerank", "passage_template") }),
            ("passage_if_title_field", assigned("load_msmarco_rerank", "passage_template")),
            (
                "demo",
                Constant { pick: Pick::Text(2), front: "{passages}", ..joined("load_msmarco_rerank", "demo_text") }
                    .renamed(&[("{d['query']}", "{query}"), ("{ranking}", "{id > id > ...}")]),
            ),
            // Each demonstration has it behind it, the last one too.
            ("demo_separator", Constant { pick: Pick::Last, ..joined("load_msmarco_rerank", "demo_text") }),
            ("demos_trailer", Constant { pick: Pick::Last, ..joined("load_msmarco_rerank", "demo_text") }),
        ],
    ),
    (
        &["icl_*"],
        &[
            (USER, assigned("load_icl", "user_template")),
            (PREFIX, assigned("load_icl", "system_template")),
            (JOINER, assigned("load_icl", "prompt_template")),
            ("demo", assigned("load_icl", "item_template")),
            ("demo_separator", joined("load_icl", "context")),
        ],
    ),
    (
        &["ruler_niah_mk_2", "ruler_niah_mk_3"],
        &[
            (USER, assigned(RULER, "user_template").under("niah")),
            (PREFIX, assigned(RULER, "system_template").under("niah")),
            (JOINER, assigned(RULER, "prompt_template")),
        ],
    ),
    (
        &["ruler_niah_mv"],
        &[
            (USER, assigned(RULER, "user_template").under("niah_mv")),
            (PREFIX, assigned(RULER, "system_template").under("niah_mv")),
            (JOINER, assigned(RULER, "prompt_template")),
        ],
    ),
    (
        &["alce_asqa", "alce_qampari"],
        &[
            (USER, assigned("load_alce", "user_template")),
            (PREFIX, assigned("load_alce", "system_template")),
            (JOINER, assigned("load_alce", "prompt_template")),
            ("demo_separator", joined("load_alce", "demo_text")),
            ("demos_trailer", Constant::new("load_alce", Place::Added("demo_text"), Pick::Text(0))),
            ("passage_separator", joined("load_alce", "context")),
        ],
    ),
    (
        &["infbench_qa_eng"],
        &[
            (USER, assigned(INFBENCH, "user_template").under("qa_eng")),
            (PREFIX, assigned(INFBENCH, "system_template").under("qa_eng")),
            (JOINER, assigned(INFBENCH, "prompt_template")),
            ("demo_header", entry(INFBENCH, "demo", Pick::Before("{demo}"))),
            ("demo", assigned(INFBENCH, "temp").under("qa_eng")),
            ("demo_separator", joined(INFBENCH, "demo").under("qa_eng")),
            ("demos_trailer", entry(INFBENCH, "demo", Pick::After("{demo}"))),
        ],
    ),
    (
        &["infbench_choice_eng"],
        &[
            (USER, assigned(INFBENCH, "user_template").under("choice_eng")),
            (PREFIX, assigned(INFBENCH, "system_template").under("choice_eng")),
            (JOINER, assigned(INFBENCH, "prompt_template")),
            ("demo_header", entry(INFBENCH, "demo", Pick::Before("{demo}"))),
            ("demo", assigned(INFBENCH, "temp").under("choice_eng")),
            ("demo_separator", joined(INFBENCH, "demo").under("choice_eng")),
            ("demos_trailer", entry(INFBENCH, "demo", Pick::After("{demo}"))),
            ("options", assigned(INFBENCH, "options").under("choice")),
        ],
    ),
    (
        &["infbench_sum_eng"],
        &[
            (USER, assigned(INFBENCH, "user_template").under("sum_eng")),
            (PREFIX, assigned(INFBENCH, "system_template").under("sum_eng")),
            (JOINER, assigned(INFBENCH, "prompt_template")),
            ("demo_header", entry(INFBENCH, "demo", Pick::Before("{demo}"))),
            (
                "demo",
                Constant { pick: Pick::Text(1), ..joined(INFBENCH, "demo") }
                    .under("sum_eng")
                    .renamed(&[("{x['answer'][0].strip()}", "{answer[0].strip()}")]),
            ),
            ("demo_separator", joined(INFBENCH, "demo").under("sum_eng")),
            ("demos_trailer", entry(INFBENCH, "demo", Pick::After("{demo}"))),
        ],
    ),
];
