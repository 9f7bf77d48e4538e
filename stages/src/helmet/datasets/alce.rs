//! ALCE: answers from retrieved documents, with citations (Gao et al. 2023): ASQA's ambiguous questions, and
//! QAMPARI's, whose answer is a list.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::passages::{Passage, joined, rendered};
use super::shuffled;
use crate::contract::{StageError, StageResult};
use crate::helmet::dataset::{Answered, Dataset, Example, Outside, Records, Request, Scored};
use crate::helmet::golds::GoldForm;
use crate::helmet::lengths;
use crate::helmet::random::PythonRandom;
use crate::helmet::score::{short_answer_recall, top_five_recall};
use crate::helmet::template::{Fields, fill_in};
use crate::metrics::citations::{normal_output, without_citations};

/// One of the two sets.
pub struct Alce {
    name: &'static str,
    file: &'static str,
    prompts: &'static str,
    lists: bool,
}

/// ASQA.
pub const ALCE_ASQA: Alce = Alce {
    name: "alce_asqa",
    file: "alce/asqa_eval_gtr_top2000.json",
    prompts: "prompts/asqa_revised.json",
    lists: false,
};

/// QAMPARI.
pub const ALCE_QAMPARI: Alce = Alce {
    name: "alce_qampari",
    file: "alce/qampari_eval_gtr_top2000.json",
    prompts: "prompts/qampari_revised.json",
    lists: true,
};

/// Documents shown at HELMET's lengths; the files hold 2000 a row.
const DOCUMENTS: [usize; 5] = [30, 75, 165, 345, 700];
const DEMONSTRATIONS: usize = 2;

/// The file with the demonstrations, and with the benchmark's wording.
#[derive(Deserialize)]
struct Prompts {
    instruction: String,
    demo_prompt: String,
    doc_prompt: String,
    demos: Vec<Demonstration>,
}

#[derive(Deserialize)]
struct Demonstration {
    question: String,
    answer: String,
    docs: Vec<Passage>,
}

#[derive(Deserialize)]
struct Row {
    question: String,
    /// A long answer, or a list.
    answer: Value,
    #[serde(default)]
    qa_pairs: Vec<Pair>,
    #[serde(default)]
    answers: Vec<Vec<String>>,
    docs: Vec<Passage>,
}

#[derive(Deserialize)]
struct Pair {
    short_answers: Vec<String>,
}

impl Dataset for Alce {
    fn name(&self) -> &'static str {
        self.name
    }

    fn max_new_tokens(&self) -> usize {
        300
    }

    fn chat(&self) -> bool {
        true
    }

    fn files(&self, _length: usize, _records: Records) -> StageResult<Vec<String>> {
        Ok(vec![self.file.to_owned(), self.prompts.to_owned()])
    }

    fn hint(&self) -> &'static str {
        "HELMET publishes alce/ in data.tar.gz of the data set princeton-nlp/HELMET on the Hugging Face hub, and \
         prompts/ in its repository, princeton-nlp/HELMET on GitHub"
    }

    fn examples(&self, request: &Request<'_>) -> StageResult<Vec<Example>> {
        let data = request.data(self.name)?;
        let prompts = data.read(self.prompts)?;
        let prompts: Prompts = serde_json::from_slice(prompts.bytes()).map_err(|error| prompts.refuse(error))?;
        let count = lengths::demonstrations(DEMONSTRATIONS, request.room.length);
        if prompts.demos.len() < count {
            let message = format!("{}: {} demonstrations, {count} are shown", self.prompts, prompts.demos.len());
            return Err(StageError::input(message));
        }
        let (_, rows): (Vec<Value>, usize) = data.items(self.file, |_| false)?;
        // One generator serves all rows of the file in their order, asked or not.
        let mut random = PythonRandom::new(request.seed);
        let drawn: Vec<Vec<usize>> = (0..rows).map(|_| random.sample(prompts.demos.len(), count)).collect();
        let order = shuffled(request, rows);
        let mut wanted: Vec<usize> = order.clone();
        wanted.sort_unstable();
        let (kept, _): (Vec<Row>, usize) = data.items(self.file, |row| wanted.binary_search(&row).is_ok())?;
        let documents = lengths::items(DOCUMENTS, request.room.length)?.shown;
        let wording = Wording::new(request, &prompts);
        let one = |number: usize| {
            (request.check)()?;
            let place = wanted.binary_search(&number).map_err(|_| StageError::internal("a row was not kept"))?;
            let row = &kept[place];
            let demos = drawn[number].iter().map(|&demo| wording.demo(&prompts.demos[demo]));
            let demos = demos.collect::<StageResult<Vec<_>>>()?;
            let shown = &row.docs[..row.docs.len().min(documents)];
            let golds = match self.lists {
                true => ("answers", json!(row.answers)),
                false => ("qa_pairs", row.qa_pairs.iter().map(|pair| json!(pair.short_answers)).collect()),
            };
            if golds.1.as_array().is_none_or(Vec::is_empty) {
                return Err(StageError::input(format!("{}: row {number} has no `{}`", self.file, golds.0)));
            }
            let documents: Value = shown.iter().map(|passage| json!([passage.title, passage.text])).collect();
            Ok(Example {
                fields: Fields::from([
                    ("demo_text", joined(request.template, &demos)?),
                    ("instruction", wording.instruction.clone()),
                    ("question", row.question.clone()),
                    ("context", wording.documents(shown)?),
                ]),
                answers: texts(&row.answer),
                cluster: number.to_string(),
                facts: Map::from_iter([
                    ("question".to_owned(), Value::String(row.question.clone())),
                    (golds.0.to_owned(), golds.1),
                    ("docs".to_owned(), documents),
                ]),
            })
        };
        order.into_iter().map(one).collect()
    }

    fn golds(&self) -> GoldForm {
        if self.lists { GoldForm::Lists } else { GoldForm::Questions }
    }

    fn score(&self, answered: Answered<'_>) -> Scored {
        let plain = without_citations(&normal_output(answered.output));
        Ok(vec![match self.lists {
            true => ("qampari_rec_top5", top_five_recall(&plain, answered.facts)?),
            false => ("str_em", short_answer_recall(&plain, answered.facts)?),
        }])
    }

    fn outside(&self) -> Option<Outside> {
        Some(Outside::Citations { items: self.lists })
    }
}

/// The texts of a value that is one text or a list of them.
fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// The words around questions and documents: the template's where it has them, else those of the prompt file.
struct Wording<'a> {
    request: &'a Request<'a>,
    prompts: &'a Prompts,
    own: bool,
    instruction: String,
}

impl<'a> Wording<'a> {
    fn new(request: &'a Request<'a>, prompts: &'a Prompts) -> Self {
        let instruction = request.template.optional_part("instruction");
        let own = instruction.is_some();
        Self { request, prompts, own, instruction: instruction.unwrap_or(&prompts.instruction).to_owned() }
    }

    fn documents(&self, documents: &[Passage]) -> StageResult<String> {
        if self.own {
            return rendered(self.request.template, documents.iter());
        }
        let one = |(number, passage): (usize, &Passage)| {
            let fields = Fields::from([
                ("ID", (number + 1).to_string()),
                ("title", passage.title.clone()),
                ("text", passage.text.clone()),
            ]);
            fill_in(&self.prompts.doc_prompt, &fields).map_err(|reason| in_prompts("doc_prompt", &reason))
        };
        Ok(documents.iter().enumerate().map(one).collect::<StageResult<Vec<_>>>()?.join("\n\n"))
    }

    fn demo(&self, demo: &Demonstration) -> StageResult<String> {
        let fields = Fields::from([
            ("instruction", self.instruction.clone()),
            ("question", demo.question.clone()),
            ("context", self.documents(&demo.docs)?),
            ("answer", demo.answer.clone()),
        ]);
        if self.own {
            return self.request.template.render("demo", &fields);
        }
        fill_in(&self.prompts.demo_prompt, &fields).map_err(|reason| in_prompts("demo_prompt", &reason))
    }
}

fn in_prompts(part: &str, reason: &str) -> StageError {
    StageError::input(format!("the prompt file's `{part}`: {reason}"))
}
