//! Whether premises entail hypotheses, by a model that is run here or one behind a service.

use std::path::Path;

use retmask_model::entailment::EntailmentModel;
use serde_json::{Value, json};

use super::Parameters;
use super::rounds::Pair;
use crate::contract::{Context, RowContent, RowScope, StageError, StageResult};
use crate::remote::{Address, Client, Failure, ask_all};
use crate::rows::{Made, Reader, Row, RowResult, Writer, work_through};

/// Whether a premise entails a hypothesis, or why that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entails(Result<bool, String>);

impl RowResult for Entails {
    fn write(&self, bytes: &mut Writer) {
        match &self.0 {
            Ok(entails) => bytes.byte(u8::from(*entails)),
            Err(why) => {
                bytes.byte(2);
                bytes.text(why);
            }
        }
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        Some(Self(match bytes.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            2 => Err(bytes.text()?),
            _ => return None,
        }))
    }
}

/// What answers.
pub struct Entailment<'a> {
    pub parameters: &'a Parameters,
    /// The model that is run here; without it, the service is asked.
    pub model: Option<&'a Path>,
    pub context: &'a Context,
}

impl Entailment<'_> {
    /// Whether each premise entails its hypothesis, or why that is not known.
    ///
    /// # Errors
    /// `Input` when the model cannot be used; `Environment` when the service refuses everything or does not answer.
    pub fn ask(&self, pairs: &[Pair]) -> StageResult<Vec<Result<bool, String>>> {
        let key = |(premise, hypothesis): &Pair| {
            RowContent::default().text("premise", premise).text("hypothesis", hypothesis).key()
        };
        let rows: Vec<Row> = pairs.iter().map(|pair| Row { map: 0, key: key(pair) }).collect();
        let scope = RowScope::new("entailments", &["entailment-model"], self.parameters, &["citations"])?;
        let found = work_through(
            self.context,
            vec![self.context.rows(&scope)?],
            &rows,
            &mut |missing, made| match self.model {
                Some(model) => self.run(model, pairs, missing, made),
                None => self.serve(pairs, missing, made),
            },
        )?;
        Ok(found.into_iter().map(|entails| entails.0).collect())
    }

    fn run(&self, model: &Path, pairs: &[Pair], missing: &[usize], made: &mut Made<'_, Entails>) -> StageResult<()> {
        self.context.progress().phase("load the entailment model", "models", 1);
        let mut model = EntailmentModel::open(model, self.parameters.entailment_label)?;
        self.context.progress().advance(1);
        self.context.progress().phase("entailment", "pairs", missing.len() as u64);
        for &place in missing {
            self.context.check_cancelled()?;
            let (premise, hypothesis) = &pairs[place];
            let verdict = model.entails(premise, hypothesis)?.map_err(|long| {
                format!("a pair is longer than the {} tokens that the entailment model reads", long.most)
            });
            made.done(place, Entails(verdict))?;
            self.context.progress().advance(1);
        }
        Ok(())
    }

    fn serve(&self, pairs: &[Pair], missing: &[usize], made: &mut Made<'_, Entails>) -> StageResult<()> {
        let (parameters, context) = (self.parameters, self.context);
        let client = Client::new(Address::from_environment("NLI")?);
        context.progress().phase("ask the entailment model", "pairs", missing.len() as u64);
        let one = |place: usize| {
            let (premise, hypothesis) = &pairs[missing[place]];
            let body = |_| json!({"model": parameters.model, "premise": premise, "hypothesis": hypothesis});
            let read = |reply: &Value| {
                reply.get("entails").and_then(Value::as_bool).ok_or_else(|| "the reply has no `entails`".to_owned())
            };
            entails(client.post("", body, context.cancel(), read))
        };
        ask_all(missing.len(), one, |place, entails| {
            made.done(missing[place], entails)?;
            context.progress().advance(1);
            Ok(())
        })
    }
}

/// What one pair came to: a failure that is about this pair alone is no error.
fn entails(reply: Result<bool, Failure>) -> StageResult<Entails> {
    match reply {
        Ok(entails) => Ok(Entails(Ok(entails))),
        Err(Failure::Unusable(why)) => Ok(Entails(Err(why))),
        Err(Failure::Refused(why)) => Ok(Entails(Err(format!("the service refuses the pair: {why}")))),
        Err(Failure::Denied(why)) => Err(StageError::environment(format!("the entailment service refuses: {why}"))
            .with_hint("check RETMASK_NLI_URL and RETMASK_NLI_TOKEN")),
        Err(Failure::Unanswered(why)) => {
            Err(StageError::environment(format!("the entailment service does not answer: {why}"))
                .with_hint("the replies so far are kept; run again to go on from there"))
        }
        Err(Failure::Stopped) => Err(StageError::interrupted()),
    }
}
