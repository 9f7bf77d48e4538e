//! Responses from a server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp.

use serde_json::{Map, Value, json};

use super::Parameters;
use super::answer::split;
use super::prompts::Prompt;
use super::side::{Answer, Side};
use crate::artifact::pairs::Response;
use crate::contract::{Context, StageResult};
use crate::remote::{Requests, Server, chat};
use crate::rows::Made;
use crate::stop_texts::up_to_a_stop;

/// A response that is wanted of a server.
pub struct Ask<'a> {
    pub row: usize,
    pub prompt: &'a Prompt,
    pub sample: u32,
}

/// Asks for each response and keeps it as soon as it is there. A request that the server refuses, or answers with what is
/// no response, has failed, which is told and not kept.
///
/// # Errors
/// `Environment`: the server refuses everything, does not answer, or left requests unanswered; what was answered is kept.
/// `Interrupted` when asked to stop.
pub fn ask(
    parameters: &Parameters,
    server: &Server,
    side: Side,
    wanted: &[Ask<'_>],
    made: &mut Made<'_, Answer>,
    context: &Context,
) -> StageResult<()> {
    context.progress().phase(&format!("ask {}", server.model), "responses", wanted.len() as u64);
    let requests = Requests {
        path: chat::PATH,
        count: wanted.len(),
        name: &|place| beginning(wanted[place].prompt),
        body: &|place| request(parameters, server, side, &wanted[place]),
        read: &|_, reply| read(parameters, reply),
    };
    server.ask(side.service(), &requests, context, |place, answer| {
        let Ask { row, prompt, .. } = wanted[place];
        match answer {
            // Another server, or this one with other settings, may answer another time.
            Err(why) => {
                context.progress().log(&format!("{}: {why}", beginning(prompt)));
                made.done_for_now(row, Answer::Failed { why });
            }
            Ok(answer) => {
                if let Answer::Given { response, .. } = &answer {
                    context.progress().tokens(response.tokens.into());
                }
                made.done(row, answer)?;
            }
        }
        context.progress().advance(1);
        Ok(())
    })
}

/// The beginning of what is asked, for the log.
fn beginning(prompt: &Prompt) -> String {
    const CHARACTERS: usize = 60;
    let text = prompt.messages.last().map_or("", |turn| turn.content.as_str());
    let mut shown: String = text.chars().take(CHARACTERS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(CHARACTERS).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// A request for one response. What is at its default is left to the server, which knows OpenAI's parameters at least.
fn request(parameters: &Parameters, server: &Server, side: Side, ask: &Ask<'_>) -> Value {
    let messages: Vec<Value> =
        ask.prompt.messages.iter().map(|turn| json!({"role": turn.role, "content": turn.content})).collect();
    // Servers take seeds of 31 bits at least.
    let seed = side.stream(parameters, ask.prompt, ask.sample).next_u64() >> 33;
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    set("model", json!(server.model));
    set("messages", messages.into());
    set("max_tokens", json!(parameters.max_new_tokens));
    set("temperature", json!(parameters.temperature));
    set("top_p", json!(parameters.top_p));
    set("seed", json!(seed));
    if !parameters.stop.is_empty() {
        set("stop", json!(parameters.stop));
    }
    if parameters.frequency_penalty != 0.0 {
        set("frequency_penalty", json!(parameters.frequency_penalty));
    }
    if parameters.top_k > 0 {
        set("top_k", json!(parameters.top_k));
    }
    if parameters.min_p > 0.0 {
        set("min_p", json!(parameters.min_p));
    }
    if parameters.repetition_penalty != 1.0 {
        // vLLM's and SGLang's name, and llama.cpp's.
        set("repetition_penalty", json!(parameters.repetition_penalty));
        set("repeat_penalty", json!(parameters.repetition_penalty));
    }
    if let Some(thinking) = parameters.thinking {
        set("chat_template_kwargs", json!({"enable_thinking": thinking}));
    }
    body.into()
}

/// The response in a reply.
///
/// # Errors
/// When the reply is of another form.
fn read(parameters: &Parameters, reply: &Value) -> Result<Answer, String> {
    let choice = reply.pointer("/choices/0").ok_or("the reply has no choices")?;
    let stop = chat::stop(reply)?;
    let text = |name: &str| match choice.pointer(&format!("/message/{name}")) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("`{name}` of the reply is no text")),
    };
    let content = text("content")?;
    // Servers that tell thoughts and answer apart give the thoughts one of these names.
    let reasoning = text("reasoning_content")?.or(text("reasoning")?).filter(|text| !text.trim().is_empty());
    if content.is_none() && reasoning.is_none() {
        return Err("the reply has no text".into());
    }
    let count = |name: &str| chat::token_count(reply, name);
    let (prompt_tokens, tokens) = (count("prompt_tokens")?, count("completion_tokens")?);
    let content = up_to_a_stop(content.unwrap_or_default(), &parameters.stop);
    let (thoughts, answer) = match reasoning {
        Some(_) => (reasoning, content.trim()),
        None => split(content, parameters.thinking == Some(true)),
    };
    let response = Response { text: answer.to_owned(), tokens, stop: stop.name() };
    let reasoning = thoughts.map(str::trim).filter(|thoughts| !thoughts.is_empty()).map(str::to_owned);
    Ok(Answer::Given { prompt_tokens, response, reasoning })
}

#[cfg(test)]
mod tests {
    use retmask_model::text::ChatMessage;

    use super::*;

    fn reply(message: Value, finish: &str) -> Value {
        json!({
            "choices": [{"message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4}
        })
    }

    fn given(reply: &Value, parameters: &Parameters) -> (String, Option<String>, &'static str) {
        match read(parameters, reply).unwrap() {
            Answer::Given { prompt_tokens: 9, response, reasoning } if response.tokens == 4 => {
                (response.text, reasoning, response.stop)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reply_is_an_answer_and_its_thoughts() {
        let plain = Parameters::default();
        let thinks = Parameters { thinking: Some(true), ..Parameters::default() };
        let of = |message, parameters| given(&reply(message, "stop"), parameters);
        assert_eq!(of(json!({"content": " Yes.\n"}), &plain), ("Yes.".into(), None, "stop"));
        let apart = json!({"content": "Yes.", "reasoning_content": "Well, "});
        assert_eq!(of(apart, &plain), ("Yes.".into(), Some("Well,".into()), "stop"));
        let apart = json!({"content": null, "reasoning": "Well"});
        assert_eq!(of(apart, &plain), (String::new(), Some("Well".into()), "stop"));
        let together = json!({"content": "<think>Well</think>\nYes."});
        assert_eq!(of(together, &plain), ("Yes.".into(), Some("Well".into()), "stop"));
        // The template opened the thoughts.
        let opened = json!({"content": "Well</think>Yes."});
        assert_eq!(of(opened.clone(), &thinks), ("Yes.".into(), Some("Well".into()), "stop"));
        assert_eq!(of(opened, &plain).0, "Well</think>Yes.");
        let stop = Parameters { stop: vec!["END".into()], ..Parameters::default() };
        assert_eq!(given(&reply(json!({"content": "a END b"}), "length"), &stop), ("a".into(), None, "length"));
    }

    #[test]
    fn a_reply_of_another_form_says_what_it_lacks() {
        let refused = |reply: Value| read(&Parameters::default(), &reply).unwrap_err();
        assert_eq!(refused(json!({})), "the reply has no choices");
        assert_eq!(refused(reply(json!({}), "stop")), "the reply has no text");
        assert_eq!(refused(reply(json!({"content": 3}), "stop")), "`content` of the reply is no text");
        assert!(refused(reply(json!({"content": "a"}), "content_filter")).contains("does not say that it ended"));
        let mut uncounted = reply(json!({"content": "a"}), "stop");
        uncounted["usage"] = json!({"prompt_tokens": -1});
        assert_eq!(refused(uncounted), "the reply has no `prompt_tokens`");
    }

    #[test]
    fn a_request_says_what_was_asked_for_and_nothing_else() {
        let server = Server { model: "m".into(), ..Server::default() };
        let turn = ChatMessage { role: "user".into(), content: "Hi".into() };
        let prompt = Prompt { messages: vec![turn], digest: [3; 32] };
        let of = |parameters: &Parameters, sample| {
            request(parameters, &server, Side::Chosen, &Ask { row: 0, prompt: &prompt, sample })
        };
        let plain = of(&Parameters::default(), 0);
        let names: Vec<&str> = plain.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["model", "messages", "max_tokens", "temperature", "top_p", "seed"]);
        assert_eq!(plain["messages"], json!([{"role": "user", "content": "Hi"}]));
        assert!(plain["seed"].as_u64().unwrap() < 1 << 31);
        assert_ne!(plain["seed"], of(&Parameters::default(), 1)["seed"]);
        let all = Parameters {
            stop: vec!["END".into()],
            frequency_penalty: 0.5,
            top_k: 7,
            min_p: 0.1,
            repetition_penalty: 1.5,
            thinking: Some(false),
            ..Parameters::default()
        };
        let all = of(&all, 0);
        assert_eq!((&all["stop"], &all["top_k"], &all["min_p"]), (&json!(["END"]), &json!(7), &json!(0.1)));
        assert_eq!((&all["repetition_penalty"], &all["repeat_penalty"]), (&json!(1.5), &json!(1.5)));
        assert_eq!(all["chat_template_kwargs"], json!({"enable_thinking": false}));
    }
}
