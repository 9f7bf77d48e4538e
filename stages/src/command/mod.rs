//! Any program as a stage: what it is called with, what it reads and writes, and which environment it sees.
//!
//! The program's file is in the key by its content, so another build of a tool is other work. It runs in a private
//! folder and a process group of its own, sees the environment it is promised and nothing else, and what it leaves is
//! looked at as something hostile before it is taken.

mod outputs;
mod placeholder;
mod process;
mod program;

use std::collections::BTreeMap;

use retmask_model::Numerics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::Media;
use crate::contract::{Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageError, StageResult};
use placeholder::Place;

pub use process::kill_running;
pub use program::find as find_program;

/// What a program is run with. A value may hold placeholders: `{in.NAME}` and `{out.NAME}` stand for the path of an input
/// and an output, `{scratch}` for a private folder, `{threads}` for the threads it may use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// The program: a name that is looked for in `PATH`, or a path. Its content is in the key in place of its name.
    pub program: String,
    /// The arguments, handed over as they are: there is no shell.
    pub arguments: Vec<String>,
    /// Variables the program sees, besides `PATH`, `LC_ALL`, `HOME`, `TMPDIR` and `CUDA_VISIBLE_DEVICES`: name to
    /// value.
    pub environment: BTreeMap<String, String>,
    /// Names of variables of retmask's own environment that the program sees as well, tokens say. Their values are in no
    /// key, record or log.
    pub pass: Vec<String>,
    /// What the program writes, at least one: a name to its media.
    pub outputs: BTreeMap<String, String>,
}

/// The stage kind.
pub struct Command;

/// Variables that the stage sets.
const OWN_VARIABLES: [&str; 5] = ["LC_ALL", "HOME", "TMPDIR", "PATH", GPUS];
/// The ids of the GPUs that a program may use; empty hides them all.
const GPUS: &str = "CUDA_VISIBLE_DEVICES";
/// The role of the program's file in the key.
const PROGRAM: &str = "program";

impl Kind for Command {
    type Parameters = Parameters;

    const NAME: &'static str = "command";
    const EPOCH: u32 = 1;
    const SUMMARY: &'static str = "Run any program that reads artifacts and writes artifacts";
    const DECLARES_PORTS: bool = true;
    const INPUTS: &'static [InputPort] = &[];
    const OUTPUTS: &'static [OutputPort] = &[];

    fn numerics(_parameters: &Parameters) -> Option<Numerics> {
        None
    }

    fn program(parameters: &Parameters) -> Option<&str> {
        Some(&parameters.program)
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        let Parameters { program, environment, pass, outputs, .. } = parameters;
        if program.is_empty() || program.contains(['\0', '{', '}']) {
            return Err(ParameterError::new("program", "must name a program or its path, without placeholders"));
        }
        if outputs.is_empty() {
            return Err(ParameterError::new("outputs", "must name at least one output and its media"));
        }
        for (name, media) in outputs {
            if !is_name(name) {
                return Err(ParameterError::new("outputs", format!("`{name}` must be made of a-z, 0-9 and -")));
            }
            if Media::from_name(media).is_none() {
                let known: Vec<&str> = Media::ALL.iter().map(|media| media.name()).collect();
                let message = format!("`{media}` is no media; these are: {}", known.join(", "));
                return Err(ParameterError::new(format!("outputs.{name}"), message));
            }
        }
        for name in environment.keys().chain(pass) {
            let start = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
            let field = if environment.contains_key(name) { "environment" } else { "pass" };
            if !start || !name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_') {
                return Err(ParameterError::new(field, format!("`{name}` cannot be the name of a variable")));
            }
            if OWN_VARIABLES.contains(&name.as_str()) && !(name == "PATH" && field == "environment") {
                return Err(ParameterError::new(field, format!("`{name}` is set by the stage itself")));
            }
        }
        if let Some(name) = pass.iter().find(|name| environment.contains_key(*name)) {
            return Err(ParameterError::new("pass", format!("`{name}` stands under `environment` as well")));
        }
        if let Some((field, _)) = texts(parameters).find(|(_, text)| text.contains('\0')) {
            return Err(ParameterError::new(field, "must not hold a zero byte"));
        }
        for (field, text) in texts(parameters) {
            for place in placeholder::places(text) {
                if let Place::Output(name) = place
                    && !outputs.contains_key(name)
                {
                    let known: Vec<&str> = outputs.keys().map(String::as_str).collect();
                    let message = format!("`{{out.{name}}}` names no output; `outputs` has {}", known.join(", "));
                    return Err(ParameterError::new(field, message));
                }
            }
        }
        Ok(())
    }

    fn validate_inputs(parameters: &Parameters, roles: &[String]) -> Result<(), ParameterError> {
        if roles.iter().any(|role| role == PROGRAM) {
            return Err(ParameterError::new("program", "is the program itself: no input can have this name"));
        }
        for (field, text) in texts(parameters) {
            for place in placeholder::places(text) {
                if let Place::Input(name) = place
                    && !roles.iter().any(|role| role == name)
                {
                    let known = if roles.is_empty() { "nothing".to_owned() } else { roles.join(", ") };
                    let message = format!("`{{in.{name}}}` names no input; under `in` stands {known}");
                    return Err(ParameterError::new(field, message));
                }
            }
        }
        Ok(())
    }

    fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        let path = program::find(&parameters.program)?;
        let folder = context.scratch();
        let filled = |text: &str| placeholder::fill(text, inputs, outputs, folder);
        let mut command = std::process::Command::new(&path);
        for argument in &parameters.arguments {
            command.arg(filled(argument)?);
        }
        command.env_clear().env("LC_ALL", "C.UTF-8").env("HOME", folder).env("TMPDIR", folder).current_dir(folder);
        command.env(GPUS, context.gpus().join(","));
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        let mut secrets = Vec::new();
        for name in &parameters.pass {
            let value = std::env::var_os(name).ok_or_else(|| {
                StageError::input(format!("the variable {name}, which `pass` names, is not set"))
                    .with_hint(format!("set {name} in the environment of retmask, or take it out of `pass`"))
            })?;
            secrets.push(value.to_string_lossy().into_owned());
            command.env(name, value);
        }
        for (name, value) in &parameters.environment {
            command.env(name, filled(value)?);
        }
        let progress = context.progress();
        progress.phase("run the program", "programs", 1);
        progress.log(&format!("{} {}", path.display(), parameters.arguments.join(" ")));
        process::run(command, &parameters.program, &secrets, context)?;
        progress.advance(1);
        for (name, media) in &parameters.outputs {
            let media = Media::from_name(media).ok_or_else(|| StageError::internal("the media were not checked"))?;
            outputs::check(&parameters.program, name, media, &outputs.path(name))?;
        }
        Ok(())
    }
}

/// Every text that may hold placeholders, with its field.
fn texts(parameters: &Parameters) -> impl Iterator<Item = (String, &str)> {
    let arguments = parameters.arguments.iter().map(|text| ("arguments".to_owned(), text.as_str()));
    let values = parameters.environment.iter();
    arguments.chain(values.map(|(name, text)| (format!("environment.{name}"), text.as_str())))
}

/// What names of ports are made of, as those of stages.
fn is_name(name: &str) -> bool {
    let part = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
    name.len() <= 64 && name.chars().all(part) && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Parameters {
        Parameters {
            program: "tool".into(),
            arguments: vec!["{in.model}".into(), "--to={out.table}".into(), "{literal} {in}".into()],
            outputs: BTreeMap::from([("table".into(), "retmask/file;v1".into())]),
            ..Parameters::default()
        }
    }

    fn refused(change: impl Fn(&mut Parameters)) -> String {
        let mut changed = parameters();
        change(&mut changed);
        let error = Command::validate(&changed).unwrap_err();
        format!("{}: {}", error.field, error.message)
    }

    #[test]
    fn what_cannot_be_run_is_refused_when_the_pipeline_is_read() {
        assert_eq!(Command::validate(&parameters()), Ok(()));
        assert!(refused(|all| all.program = "{in.tool}".into()).starts_with("program: must name"));
        assert!(refused(|all| all.outputs.clear()).starts_with("outputs: must name"));
        assert!(refused(|all| drop(all.outputs.insert("../up".into(), "retmask/file;v1".into()))).contains("`../up`"));
        assert!(
            refused(|all| drop(all.outputs.insert("x".into(), "table".into()))).starts_with("outputs.x: `table` is")
        );
        assert!(refused(|all| all.arguments.push("{out.tabel}".into())).contains("`outputs` has table"));
        assert!(refused(|all| all.pass.push("A=B".into())).starts_with("pass: `A=B` cannot"));
        assert!(refused(|all| all.pass.push("HOME".into())).starts_with("pass: `HOME` is set"));
        assert!(refused(|all| all.arguments.push("\0".into())).starts_with("arguments: must not"));
        let twice = |all: &mut Parameters| {
            all.pass.push("A".into());
            all.environment.insert("A".into(), "1".into());
        };
        assert!(refused(twice).contains("`A` stands under `environment` as well"));
    }

    #[test]
    fn inputs_that_are_named_must_be_there() {
        assert_eq!(Command::validate_inputs(&parameters(), &["model".into()]), Ok(()));
        let error = Command::validate_inputs(&parameters(), &["modle".into()]).unwrap_err();
        assert_eq!(error.message, "`{in.model}` names no input; under `in` stands modle");
        let error = Command::validate_inputs(&parameters(), &["model".into(), "program".into()]).unwrap_err();
        assert_eq!(error.field, "program");
    }
}
