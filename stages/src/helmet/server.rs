//! Answers of a model on a server. Prompts go there as tokens, made here with the model's own tokenizer and template, so
//! that the server's model reads what a model in this program would.

use serde_json::{Value, json};

use super::questions::Question;
use crate::contract::{Context, StageError, StageResult};
use crate::remote::{Requests, Server, chat};
use crate::rows::Made;
use crate::written::Written;

/// Names the variables of the address.
const SERVICE: &str = "SERVER";
/// Below the server's address.
const PATH: &str = "/completions";

/// Asks for the answers to `missing` of the questions and keeps each as soon as it is there.
///
/// # Errors
/// `Environment`: a question has no answer. The others were asked all the same, and their answers are kept.
pub fn ask(
    server: &Server,
    stop_tokens: &[u32],
    questions: &[Question],
    missing: &[usize],
    made: &mut Made<'_, Written>,
    context: &Context,
) -> StageResult<()> {
    context.progress().phase(&format!("ask {}", server.model), "examples", missing.len() as u64);
    let name = |place: usize| {
        let row = &questions[missing[place]].row;
        format!("{}/{}/{}", row.dataset, row.length, row.example)
    };
    let requests = Requests {
        path: PATH,
        count: missing.len(),
        name: &name,
        body: &|place| request(server, stop_tokens, &questions[missing[place]]),
        read: &|place, reply| read(questions[missing[place]].prompt.len(), reply),
    };
    let mut failed = Vec::new();
    server.ask(SERVICE, &requests, context, |place, answer| {
        match answer {
            Ok(answer) => {
                context.progress().tokens(answer.tokens.into());
                made.done(missing[place], answer)?;
            }
            Err(why) => {
                context.progress().log(&format!("{}: {why}", name(place)));
                failed.push(format!("{}: {why}", name(place)));
            }
        }
        context.progress().advance(1);
        Ok(())
    })?;
    let Some(last) = failed.last() else { return Ok(()) };
    let (count, of) = (failed.len(), missing.len());
    // An answer that is not there would count as a wrong one.
    Err(StageError::environment(format!(
        "{} gives no answer to {count} of {of} prompts, the last {last}",
        server.model
    ))
    .with_hint(
        "the answers so far are kept; the server's window must hold `length` tokens, and its model have this tokenizer",
    ))
}

/// A request for one answer, greedy.
fn request(server: &Server, stop_tokens: &[u32], question: &Question) -> Value {
    json!({
        "model": server.model,
        "prompt": question.prompt,
        "max_tokens": question.max_new_tokens,
        "temperature": 0,
        // vLLM's and SGLang's; llama.cpp's server ends at the model's own.
        "stop_token_ids": stop_tokens,
    })
}

/// The answer in a reply to a prompt of so many tokens.
///
/// # Errors
/// When the reply is of another form, or to a prompt of another length: cut, or read as other tokens.
fn read(prompt_tokens: usize, reply: &Value) -> Result<Written, String> {
    let choice = reply.pointer("/choices/0").ok_or("the reply has no choices")?;
    let stop = chat::stop(reply)?;
    let text = choice.get("text").and_then(Value::as_str).ok_or("the reply has no text")?;
    let read = chat::token_count(reply, "prompt_tokens")? as usize;
    if read != prompt_tokens {
        return Err(format!("the server read {read} prompt tokens, and {prompt_tokens} were sent"));
    }
    Ok(Written { text: text.to_owned(), tokens: chat::token_count(reply, "completion_tokens")?, stop: stop.name() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_an_answer_to_the_whole_prompt() {
        let reply = |text: Value, finish: &str, prompt: u32| {
            json!({
                "choices": [{"text": text, "finish_reason": finish}],
                "usage": {"prompt_tokens": prompt, "completion_tokens": 4}
            })
        };
        let answer = read(9, &reply(json!(" Paris\n"), "length", 9)).unwrap();
        assert_eq!(answer, Written { text: " Paris\n".into(), tokens: 4, stop: "length" });
        let refused = |reply: Value| read(9, &reply).unwrap_err();
        assert_eq!(refused(json!({})), "the reply has no choices");
        assert_eq!(refused(reply(json!(null), "stop", 9)), "the reply has no text");
        assert!(refused(reply(json!("a"), "content_filter", 9)).contains("does not say that it ended"));
        assert_eq!(refused(reply(json!("a"), "stop", 8)), "the server read 8 prompt tokens, and 9 were sent");
        let mut uncounted = reply(json!("a"), "stop", 9);
        uncounted["usage"] = json!(null);
        assert_eq!(refused(uncounted), "the reply has no `prompt_tokens`");
    }
}
