//! Whether premises entail hypotheses, by a model that is run here or one behind a service.

use std::path::Path;

use retmask_model::entailment::EntailmentModel;
use serde_json::{Value, json};

use super::Parameters;
use super::rounds::Pair;
use crate::contract::{Context, RowContent, RowScope, StageResult};
use crate::remote::verdict::{Service, Verdict};
use crate::remote::{Address, Client, ask_all};
use crate::rows::{Made, Row, work_through};

/// A service that is asked whether premises entail hypotheses.
const ENTAILMENT: Service = Service {
    variables: "NLI",
    name: "the entailment service",
    item: "pair",
    hint: "check RETMASK_NLI_URL and RETMASK_NLI_TOKEN",
};

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
        let scope = RowScope::new("verdicts", &["entailment-model"], self.parameters, &["citations"])?;
        let found = work_through(
            self.context,
            vec![self.context.rows(&scope)?],
            &rows,
            &mut |missing, made| match self.model {
                Some(model) => self.run(model, pairs, missing, made),
                None => self.serve(pairs, missing, made),
            },
        )?;
        Ok(found.into_iter().map(|verdict| verdict.0).collect())
    }

    fn run(
        &self,
        model: &Path,
        pairs: &[Pair],
        missing: &[usize],
        made: &mut Made<'_, Verdict<bool>>,
    ) -> StageResult<()> {
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
            made.done(place, Verdict(verdict))?;
            self.context.progress().advance(1);
        }
        Ok(())
    }

    fn serve(&self, pairs: &[Pair], missing: &[usize], made: &mut Made<'_, Verdict<bool>>) -> StageResult<()> {
        let (parameters, context) = (self.parameters, self.context);
        let client = Client::new(Address::from_environment(ENTAILMENT.variables)?);
        context.progress().phase("ask the entailment model", "pairs", missing.len() as u64);
        let one = |place: usize| {
            let (premise, hypothesis) = &pairs[missing[place]];
            let body = |_| json!({"model": parameters.model, "premise": premise, "hypothesis": hypothesis});
            let read = |reply: &Value| {
                reply.get("entails").and_then(Value::as_bool).ok_or_else(|| "the reply has no `entails`".to_owned())
            };
            Verdict::of(ENTAILMENT, client.post("", body, context.cancel(), read))
        };
        ask_all(missing.len(), one, |place, verdict| {
            verdict.into_row(missing[place], made)?;
            context.progress().advance(1);
            Ok(())
        })
    }
}
