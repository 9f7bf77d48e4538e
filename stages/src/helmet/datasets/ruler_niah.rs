//! RULER's needle tasks (Hsieh et al. 2024, arXiv 2404.06654), generated or from HELMET's files: many needles of which one is asked
//! for, or one key with several values in running text.

use retmask_model::random::Stream;
use serde::Deserialize;

use super::identifiers::{seven_digits, uuid};
use super::words::{filler_sentence, names};
use super::{generate, shuffled};
use crate::contract::{StageError, StageResult};
use crate::helmet::dataset::{Answered, Dataset, Example, Records, Request, Scored};
use crate::helmet::golds::GoldForm;
use crate::helmet::lengths;
use crate::helmet::score::ruler_recall;
use crate::helmet::size::fill;
use crate::helmet::template::{Fields, fill_in};

/// What hides the needle that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Haystack {
    /// Needles of other keys, a line each.
    Needles,
    /// Running text, with several values of the one key.
    Text { values: usize },
}

/// What keys look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// An adjective and a noun.
    Words,
    Uuids,
}

/// What values look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    SevenDigits,
    Uuids,
}

/// One of RULER's needle tasks.
pub struct RulerNiah {
    name: &'static str,
    /// Where HELMET's files of it lie.
    folder: &'static str,
    new_tokens: usize,
    haystack: Haystack,
    keys: Keys,
    values: Values,
}

/// Many keys, word keys and number values.
pub const RULER_NIAH_MK_2: RulerNiah = RulerNiah {
    name: "ruler_niah_mk_2",
    folder: "niah_multikey_2",
    new_tokens: 50,
    haystack: Haystack::Needles,
    keys: Keys::Words,
    values: Values::SevenDigits,
};

/// Many keys, both keys and values UUIDs.
pub const RULER_NIAH_MK_3: RulerNiah = RulerNiah {
    name: "ruler_niah_mk_3",
    folder: "niah_multikey_3",
    new_tokens: 100,
    haystack: Haystack::Needles,
    keys: Keys::Uuids,
    values: Values::Uuids,
};

/// One key with four values in running text.
pub const RULER_NIAH_MV: RulerNiah = RulerNiah {
    name: "ruler_niah_mv",
    folder: "niah_multivalue",
    new_tokens: 50,
    haystack: Haystack::Text { values: 4 },
    keys: Keys::Words,
    values: Values::SevenDigits,
};

/// A needle, where the templates do not word it.
const NEEDLE: &str = "The secret {type_needle_v} of {key} is {value}.";
/// Needles in running text stand at distinct ones of so many even depths, from the beginning to the end.
const DEPTHS: usize = 40;

impl Dataset for RulerNiah {
    fn name(&self) -> &'static str {
        self.name
    }

    fn max_new_tokens(&self) -> usize {
        self.new_tokens
    }

    fn files(&self, length: usize, records: Records) -> StageResult<Vec<String>> {
        Ok(match records {
            Records::Generated => Vec::new(),
            Records::Benchmark => {
                lengths::column(length)?;
                vec![format!("ruler/{}/validation_{length}.jsonl", self.folder)]
            }
        })
    }

    fn examples(&self, request: &Request<'_>) -> StageResult<Vec<Example>> {
        if request.records == Records::Benchmark {
            return self.published(request);
        }
        generate(request, |index| {
            fill(request.template, request.room, request.tokens, 1, |units| self.example(request, index, units))
        })
    }

    fn golds(&self) -> GoldForm {
        GoldForm::Answers(&["outputs"])
    }

    fn score(&self, answered: Answered<'_>) -> Scored {
        Ok(ruler_recall(answered))
    }
}

/// A record of HELMET's files.
#[derive(Deserialize)]
struct Row {
    context: String,
    query: String,
    type_needle_v: String,
    answer: Option<Vec<String>>,
    /// RULER's own name for the answers.
    outputs: Option<Vec<String>>,
}

impl RulerNiah {
    fn published(&self, request: &Request<'_>) -> StageResult<Vec<Example>> {
        let file = &self.files(request.room.length, request.records)?[0];
        let rows: Vec<Row> = request.data(self.name)?.rows(file, |_| true)?;
        let one = |number: usize| {
            let row = &rows[number];
            let answers = row.answer.as_ref().or(row.outputs.as_ref()).cloned().unwrap_or_default();
            if answers.is_empty() {
                return Err(StageError::input(format!("{file}: row {number} has no answer")));
            }
            let fields = Fields::from([
                ("context", row.context.clone()),
                ("query", row.query.clone()),
                ("type_needle_v", row.type_needle_v.clone()),
            ]);
            Ok(Example { fields, answers, cluster: number.to_string(), ..Example::default() })
        };
        shuffled(request, rows.len()).into_iter().map(one).collect()
    }

    /// Example `index` with `units` needles, or sentences of text.
    fn example(&self, request: &Request<'_>, index: usize, units: usize) -> StageResult<Example> {
        let row = (index as u64).to_le_bytes();
        let stream = |part: &[u8]| Stream::derive(request.seed, &[self.name.as_bytes(), &row, part]);
        let (mut values, mut places) = (stream(b"values"), stream(b"places"));
        let kind = match self.values {
            Values::SevenDigits => "number",
            Values::Uuids => "uuid",
        };
        let needle = |key: &str, value: &str| {
            let fields = Fields::from([("type_needle_v", kind.into()), ("key", key.into()), ("value", value.into())]);
            match request.template.optional_part("needle") {
                Some(_) => request.template.render("needle", &fields),
                None => fill_in(NEEDLE, &fields).map_err(StageError::internal),
            }
        };
        let mut value = || match self.values {
            Values::SevenDigits => seven_digits(&mut values),
            Values::Uuids => uuid(&mut values),
        };
        let (context, query, answers, form) = match self.haystack {
            Haystack::Needles => {
                let keys = self.keys(&mut stream(b"keys"), units);
                let answer = value();
                let mut lines = keys[1..].iter().map(|key| needle(key, &value())).collect::<StageResult<Vec<_>>>()?;
                let place = (places.uniform() * units as f64) as usize;
                lines.insert(place, needle(&keys[0], &answer)?);
                (lines.join("\n"), keys[0].clone(), vec![answer], kind.to_owned())
            }
            Haystack::Text { values: count } => {
                let key = self.keys(&mut stream(b"keys"), 1).remove(0);
                let answers: Vec<String> = (0..count).map(|_| value()).collect();
                let mut filler = stream(b"filler");
                let mut sentences: Vec<String> = (0..units).map(|_| filler_sentence(&mut filler)).collect();
                let mut depths: Vec<usize> = (0..DEPTHS).collect();
                places.shuffle(&mut depths);
                depths.truncate(count);
                depths.sort_unstable();
                // From the last place to the first, so that earlier ones keep their meaning.
                for (depth, answer) in depths.iter().zip(&answers).rev() {
                    let place = (depth * units) as f64 / (DEPTHS - 1) as f64;
                    sentences.insert(place.round() as usize, needle(&key, answer)?);
                }
                (sentences.join(" "), key, answers, format!("{kind}s"))
            }
        };
        let fields = Fields::from([("context", context), ("query", query), ("type_needle_v", form)]);
        Ok(Example { fields, answers, cluster: index.to_string(), ..Example::default() })
    }

    fn keys(&self, stream: &mut Stream, count: usize) -> Vec<String> {
        match self.keys {
            Keys::Words => names(stream, count),
            Keys::Uuids => (0..count).map(|_| uuid(stream)).collect(),
        }
    }
}
