//! The completions of OpenAI-compatible services.

use retmask_model::generate::StopReason;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Below the address of a service, which ends in the version: `https://host/v1`.
pub const PATH: &str = "/chat/completions";

/// Who answers, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chat {
    pub model: String,
    pub temperature: f64,
    pub top_p: f64,
    /// The most tokens of a reply.
    pub max_tokens: u32,
}

impl Chat {
    /// A request for one reply to one message of the user.
    pub fn request(&self, user: &str, seed: u64) -> Value {
        json!({
            "model": self.model,
            "messages": [{"role": "user", "content": user}],
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": seed,
        })
    }
}

/// Why what stands at the first choice of a reply ended.
///
/// # Errors
/// When the reply does not say that it ended by itself or at the limit.
pub fn stop(reply: &Value) -> Result<StopReason, String> {
    match reply.pointer("/choices/0/finish_reason").and_then(Value::as_str) {
        Some("stop") => Ok(StopReason::StopToken),
        Some("length") => Ok(StopReason::Length),
        _ => Err("the reply does not say that it ended by itself or at the limit".into()),
    }
}

/// How many tokens a reply counts under this name.
///
/// # Errors
/// When it does not.
pub fn token_count(reply: &Value, name: &str) -> Result<u32, String> {
    let count = reply.pointer(&format!("/usage/{name}")).and_then(Value::as_u64);
    count.and_then(|count| u32::try_from(count).ok()).ok_or_else(|| format!("the reply has no `{name}`"))
}

/// The text of a reply.
///
/// # Errors
/// When the reply is of another form, or has no text.
pub fn text(reply: &Value) -> Result<&str, String> {
    let text = reply.pointer("/choices/0/message/content").and_then(Value::as_str);
    text.filter(|text| !text.trim().is_empty()).ok_or_else(|| "the reply has no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_message_and_a_reply_one_text() {
        let chat = Chat { model: "m".into(), temperature: 0.1, top_p: 0.9, max_tokens: 7 };
        let request = chat.request("hi", 42);
        assert_eq!(request["messages"], json!([{"role": "user", "content": "hi"}]));
        assert_eq!((&request["seed"], &request["max_tokens"]), (&json!(42), &json!(7)));
        assert_eq!(text(&json!({"choices": [{"message": {"content": "yes"}}]})), Ok("yes"));
        for reply in [json!({}), json!({"choices": []}), json!({"choices": [{"message": {"content": " "}}]}), json!(3)]
        {
            assert!(text(&reply).is_err(), "{reply}");
        }
    }
}
