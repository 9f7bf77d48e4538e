//! Models on servers that speak OpenAI's API: vLLM, SGLang, llama.cpp. What a model is is declared, since nobody can look;
//! where it runs decides nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Address, Client, Failure, WORKERS, ask_some};
use crate::contract::{Context, ParameterError, StageError, StageResult};

/// So many requests in a row without an answer end the stage: the server is gone.
const MOST_UNANSWERED: usize = 16;
/// Requests at a time at most.
const MOST_AT_ONCE: usize = 1024;

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// In this program: the model at the input `model`.
    #[default]
    Local,
    /// On a server that speaks OpenAI's API, as `server` declares it.
    Openai,
}

/// A model on a server. What it is decides its answers and is declared here; where it runs does not, and is in no key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Server {
    /// The model's name at the server.
    pub model: String,
    /// The model's revision or digest. Without one nobody knows what answered, and the results are never shared.
    pub revision: Option<String>,
    /// The chat template that the server applies, by a name or digest, where it is not the model's own.
    pub template: Option<String>,
    /// The server's address with the version, `http://host:8000/v1`. The environment goes before it:
    /// `RETMASK_SERVER_URL`, and `RETMASK_REJECTED_SERVER_URL` for the rejected side. Not part of the result's key.
    #[serde(skip_serializing)]
    pub base_url: Option<String>,
    /// Requests at a time. Not part of the result's key.
    #[serde(skip_serializing)]
    pub concurrency: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self { model: String::new(), revision: None, template: None, base_url: None, concurrency: WORKERS }
    }
}

/// Requests of one form, by their places.
pub struct Requests<'a, T> {
    /// Below the server's address.
    pub path: &'static str,
    pub count: usize,
    /// What the log calls one.
    pub name: &'a dyn Fn(usize) -> String,
    pub body: &'a (dyn Fn(usize) -> Value + Sync),
    /// Reads a reply, or says why it is of no use.
    pub read: &'a (dyn Fn(usize, &Value) -> Result<T, String> + Sync),
}

/// What one request came to.
enum Reply<T> {
    /// An answer, or why the server gives none to this request.
    Said(Result<T, String>),
    /// The server did not answer this time; another run may ask again.
    Unanswered(String),
}

impl Server {
    /// Checks the declaration that stands at the parameter `name`.
    pub fn check(&self, name: &str) -> Result<(), ParameterError> {
        let refuse = |field: &str, message: &str| Err(ParameterError::new(format!("{name}.{field}"), message));
        if self.model.trim().is_empty() {
            return refuse("model", "name the model as the server does");
        }
        if self.revision.as_ref().is_some_and(|revision| revision.trim().is_empty()) {
            return refuse("revision", "an empty revision declares nothing; leave it out");
        }
        check_concurrency(self.concurrency, name)
    }

    /// Checks that the server that answers is declared at the parameter `server`, where one does.
    pub fn check_answering(server: Option<&Self>, engine: Engine) -> Result<(), ParameterError> {
        if server.is_none() && engine == Engine::Openai {
            let message = "`openai` needs `server`: the model's name there, and its revision";
            return Err(ParameterError::new("engine", message));
        }
        Self::check_with(server, engine, "server")
    }

    /// Checks that a server is declared at the parameter `name` only where one is asked.
    pub fn check_with(server: Option<&Self>, engine: Engine, name: &str) -> Result<(), ParameterError> {
        match (server, engine) {
            (Some(_), Engine::Local) => {
                Err(ParameterError::new(name, "is for `engine: openai`; the engine is `local`"))
            }
            (Some(server), Engine::Openai) => server.check(name),
            (None, _) => Ok(()),
        }
    }

    /// What is declared of the model, for the scope of its answers.
    pub fn declared(&self) -> Value {
        json!({"model": self.model, "revision": self.revision, "template": self.template})
    }

    /// Makes the requests, `concurrency` at a time, and hands over what each came to as soon as it is there: an answer,
    /// or why the server refuses this one or never says anything of use to it. `service` names the variables of the address.
    ///
    /// # Errors
    /// `Environment`: the server refuses everything, does not answer, or left requests unanswered; all others were made.
    /// `Interrupted` when asked to stop. Whatever `done` says.
    pub fn ask<T: Send>(
        &self,
        service: &str,
        requests: &Requests<'_, T>,
        context: &Context,
        mut done: impl FnMut(usize, Result<T, String>) -> StageResult<()>,
    ) -> StageResult<()> {
        let client = Client::new(Address::find(service, self.base_url.as_deref())?);
        let ask_one = |place: usize| -> StageResult<Reply<T>> {
            let body = (requests.body)(place);
            let read = |reply: &Value| (requests.read)(place, reply);
            self.outcome(client.post(requests.path, |_| body.clone(), context.cancel(), read), service)
        };
        let (mut unanswered, mut in_a_row) = (Vec::new(), 0);
        ask_some(self.concurrency, requests.count, ask_one, |place, reply| {
            match reply {
                Reply::Said(answer) => {
                    in_a_row = 0;
                    done(place, answer)?;
                }
                Reply::Unanswered(why) => {
                    context.progress().log(&format!("{}: unanswered: {why}", (requests.name)(place)));
                    unanswered.push(why);
                    in_a_row += 1;
                    if in_a_row >= MOST_UNANSWERED {
                        return Err(self.left(&unanswered, requests.count));
                    }
                }
            }
            Ok(())
        })?;
        if unanswered.is_empty() { Ok(()) } else { Err(self.left(&unanswered, requests.count)) }
    }

    fn outcome<T>(&self, reply: Result<T, Failure>, service: &str) -> StageResult<Reply<T>> {
        match reply {
            Ok(answer) => Ok(Reply::Said(Ok(answer))),
            Err(Failure::Unusable(why)) => Ok(Reply::Said(Err(why))),
            Err(Failure::Refused(why)) => Ok(Reply::Said(Err(format!("the server refuses the request: {why}")))),
            Err(Failure::Unanswered(why)) => Ok(Reply::Unanswered(why)),
            Err(Failure::Denied(why)) => Err(StageError::environment(format!(
                "the server of {} refuses: {why}",
                self.model
            ))
            .with_hint(format!(
                "check the address (it ends in the version: https://host/v1), RETMASK_{service}_TOKEN and the model's name"
            ))),
            Err(Failure::Stopped) => Err(StageError::interrupted()),
        }
    }

    /// The error of requests without an answer.
    fn left(&self, unanswered: &[String], of: usize) -> StageError {
        let last = unanswered.last().map_or("", String::as_str);
        let count = unanswered.len();
        StageError::environment(format!(
            "{} left {count} of {of} requests unanswered, the last with: {last}",
            self.model
        ))
        .with_hint("the responses so far are kept; run again to go on from there")
    }
}

/// Checks how many requests are made at a time.
pub fn check_concurrency(concurrency: usize, name: &str) -> Result<(), ParameterError> {
    if (1..=MOST_AT_ONCE).contains(&concurrency) {
        return Ok(());
    }
    let message = format!("{concurrency} is not from 1 to {MOST_AT_ONCE}");
    Err(ParameterError::new(format!("{name}.concurrency"), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_declared_where_they_are_asked() {
        let server = Server { model: "m".into(), ..Server::default() };
        let of = |server: &Server, engine| Server::check_with(Some(server), engine, "server").map_err(|e| e.field);
        assert_eq!(of(&server, Engine::Openai), Ok(()));
        assert_eq!(of(&server, Engine::Local), Err("server".into()));
        assert_eq!(of(&Server::default(), Engine::Openai), Err("server.model".into()));
        let empty = Server { revision: Some(" ".into()), ..server.clone() };
        assert_eq!(of(&empty, Engine::Openai), Err("server.revision".into()));
        let many = Server { concurrency: MOST_AT_ONCE + 1, ..server };
        assert_eq!(of(&many, Engine::Openai), Err("server.concurrency".into()));
        assert_eq!(Server::check_with(None, Engine::Openai, "rejected-server"), Ok(()));
        assert_eq!(Server::check_answering(None, Engine::Openai).unwrap_err().field, "engine");
        assert_eq!(Server::check_answering(None, Engine::Local), Ok(()));
    }

    #[test]
    fn where_a_server_is_stands_in_no_key() {
        let with = Server { base_url: Some("http://h/v1".into()), concurrency: 3, ..Server::default() };
        assert_eq!(serde_json::to_value(with).unwrap(), serde_json::to_value(Server::default()).unwrap());
    }
}
