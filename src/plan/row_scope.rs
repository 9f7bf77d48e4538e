//! The scopes of a stage's rows: what all rows of one kind share, as a key.
//!
//! In it: what a row is, the stage's kind and epoch, the parameters and the inputs that matter to a row, and the class of
//! arithmetic. Encoded as the key of a stage, in a domain of its own. Rows of any stage, pipeline or user with the same
//! scope are the same rows.

use retmask_cache::Key;
use retmask_model::Numerics;
use retmask_stages::contract::RowScope;

use super::key::{self, KeyInput};
use super::value::{Value, ValueError};

/// The version of the scope's fields.
const VERSION: &str = "retmask-rows/1";
/// The domain of the scope's digest.
const CONTEXT: &str = "retmask 2026-11 row-scope v1";

/// Makes the scopes of one stage.
#[derive(Debug, Clone)]
pub struct RowScopes {
    pub kind: &'static str,
    pub epoch: u32,
    pub inputs: Vec<KeyInput>,
    pub numerics: Option<Numerics>,
    /// Whether they are their maker's alone.
    pub private: bool,
}

impl RowScopes {
    /// The key of a scope, and its fields for people.
    ///
    /// # Errors
    /// A parameter that cannot stand in a key, with its name.
    pub fn resolve(&self, scope: &RowScope) -> Result<(Key, serde_json::Value), ValueError> {
        let named = |input: &&KeyInput| {
            let port = input.role.split_once('.').map_or(input.role.as_str(), |(port, _)| port);
            scope.inputs.contains(&port)
        };
        let inputs: Vec<KeyInput> = self.inputs.iter().filter(named).cloned().collect();
        let mut fields = vec![
            ("v", Value::text(VERSION)),
            ("rows", Value::text(scope.rows)),
            ("kind", Value::text(self.kind)),
            ("epoch", Value::U64(self.epoch.into())),
            ("params", Value::of(&scope.parameters)?),
            ("inputs", key::inputs_value(&inputs)),
        ];
        fields.extend(self.numerics.map(key::numerics_field));
        fields.extend(self.private.then(key::private_field));
        Ok((key::digest(CONTEXT, &fields), key::to_json(&fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(role: &str, digest: &str) -> KeyInput {
        KeyInput { role: role.into(), media: "m".into(), digest: digest.into() }
    }

    #[test]
    fn a_scope_is_what_matters_to_its_rows() {
        let scopes = |mask: &str| RowScopes {
            kind: "sample-pairs",
            epoch: 2,
            inputs: vec![input("model", "t3:1"), input("mask", mask)],
            numerics: Some(Numerics::F32),
            private: false,
        };
        let scope = |inputs: &'static [&'static str], seed: u32| RowScope {
            rows: "responses",
            inputs,
            parameters: [("seed".to_owned(), seed.into())].into_iter().collect(),
        };
        let key = |scopes: &RowScopes, scope: &RowScope| scopes.resolve(scope).unwrap().0;
        let (first, second) = (scopes("l3:1"), scopes("l3:2"));
        let (chosen, rejected) = (scope(&["model"], 1), scope(&["model", "mask"], 1));
        assert_eq!(key(&first, &chosen), key(&second, &chosen), "the mask does not matter to the chosen side");
        assert_ne!(key(&first, &rejected), key(&second, &rejected));
        assert_ne!(key(&first, &rejected), key(&first, &chosen));
        assert_ne!(key(&first, &chosen), key(&first, &scope(&["model"], 2)));
        for other in [
            RowScopes { epoch: 3, ..first.clone() },
            RowScopes { private: true, ..first.clone() },
            RowScopes { kind: "helmet", ..first.clone() },
            RowScopes { numerics: Some(Numerics::Bf16), ..first.clone() },
            RowScopes { inputs: vec![input("model", "t3:2")], ..first.clone() },
        ] {
            assert_ne!(key(&first, &chosen), key(&other, &chosen), "{other:?}");
        }
        let (_, fields) = first.resolve(&chosen).unwrap();
        assert_eq!(fields["inputs"][0]["digest"], "t3:1");
        assert_eq!(fields["params"]["seed"]["u64"], 1);
    }
}
