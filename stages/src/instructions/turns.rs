//! The turns of a conversation, in every spelling.

use retmask_model::text::ChatMessage;
use serde_json::{Map, Value};

use super::History;
use super::record::{kind, object};

/// A conversation as it stands in a record, checked as far as it is read.
pub struct Conversation<'a> {
    name: &'a str,
    turns: &'a [Value],
}

impl<'a> Conversation<'a> {
    /// The conversation in this field.
    ///
    /// # Errors
    /// When the field is missing or is no list.
    pub fn of(fields: &'a Map<String, Value>, name: &'a str) -> Result<Self, String> {
        match fields.get(name) {
            Some(Value::Array(turns)) => Ok(Self { name, turns }),
            Some(other) => Err(format!("`{name}` is {}; expected a list of turns", kind(other))),
            None => Err(format!("`{name}` is missing")),
        }
    }

    /// Whether a field that is true or false is true in any turn.
    ///
    /// # Errors
    /// When it is something else.
    pub fn any(&self, field: &str) -> Result<bool, String> {
        let mut any = false;
        for index in 0..self.turns.len() {
            match self.fields(index)?.get(field) {
                None | Some(Value::Null | Value::Bool(false)) => {}
                Some(Value::Bool(true)) => any = true,
                Some(other) => {
                    return Err(self.place(index, format!("`{field}` is {}; expected true or false", kind(other))));
                }
            }
        }
        Ok(any)
    }

    /// A text in the first user turn, where there is both.
    ///
    /// # Errors
    /// When a turn has no role.
    pub fn of_first_user(&self, field: &str) -> Result<Option<&'a str>, String> {
        for index in 0..self.turns.len() {
            if self.role(index)? == "user" {
                return Ok(self.fields(index)?.get(field).and_then(Value::as_str));
            }
        }
        Ok(None)
    }

    /// The turns before the response; none when the user says nothing.
    ///
    /// # Errors
    /// Naming the turn that has no role or no text.
    pub fn prompt(&self, history: History) -> Result<Vec<ChatMessage>, String> {
        match history {
            History::FirstTurn => {
                for index in 0..self.turns.len() {
                    if self.role(index)? == "user" {
                        return Ok(vec![self.turn(index, "user")?]);
                    }
                }
                Ok(Vec::new())
            }
            History::Full => {
                let roles =
                    (0..self.turns.len()).map(|index| self.role(index)).collect::<Result<Vec<&str>, String>>()?;
                let count = roles.iter().rposition(|&role| role == "user").map_or(0, |last| last + 1);
                roles[..count]
                    .iter()
                    .enumerate()
                    .map(|(index, &role)| match role {
                        "user" | "assistant" | "system" => self.turn(index, role),
                        other => Err(self
                            .place(index, format!("the role `{other}` is none of `user`, `assistant` and `system`"))),
                    })
                    .collect()
            }
        }
    }

    fn place(&self, index: usize, problem: String) -> String {
        format!("`{}[{index}]`: {problem}", self.name)
    }

    fn fields(&self, index: usize) -> Result<&'a Map<String, Value>, String> {
        object(&self.turns[index]).map_err(|problem| self.place(index, problem))
    }

    /// The role, in the words of chat templates.
    fn role(&self, index: usize) -> Result<&'a str, String> {
        let fields = self.fields(index)?;
        let (name, role) = ["role", "from"]
            .into_iter()
            .find_map(|name| Some((name, fields.get(name)?)))
            .ok_or_else(|| self.place(index, "`role` is missing".into()))?;
        let Value::String(role) = role else {
            return Err(self.place(index, format!("`{name}` is {}; expected a text", kind(role))));
        };
        Ok(match role.as_str() {
            "human" => "user",
            "gpt" | "chatgpt" | "bing" | "bard" | "model" => "assistant",
            "developer" => "system",
            other => other,
        })
    }

    fn turn(&self, index: usize, role: &str) -> Result<ChatMessage, String> {
        let fields = self.fields(index)?;
        let named = ["content", "value"].into_iter().find_map(|name| Some((name, fields.get(name)?)));
        let (name, value) = named.ok_or_else(|| self.place(index, "`content` is missing".into()))?;
        let content = match value {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts
                .iter()
                .map(part)
                .collect::<Result<String, String>>()
                .map_err(|problem| self.place(index, format!("`{name}`: {problem}")))?,
            other => return Err(self.place(index, format!("`{name}` is {}; expected a text", kind(other)))),
        };
        Ok(ChatMessage { role: role.into(), content })
    }
}

/// The text of a part of a message: `{"type": "text", "text": ...}`.
fn part(part: &Value) -> Result<&str, String> {
    let fields = object(part)?;
    match (fields.get("type").and_then(Value::as_str), fields.get("text").and_then(Value::as_str)) {
        (None | Some("text" | "input_text"), Some(text)) => Ok(text),
        (Some(other), _) if other != "text" => Err(format!("a part is of type `{other}`; only texts are read")),
        _ => Err("a part has no `text`".into()),
    }
}
