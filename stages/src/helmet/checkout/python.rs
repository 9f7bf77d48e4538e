//! Python source as text: its logical lines, with the texts in them. Nothing is executed.

use std::fmt;

/// What a logical line is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A name, a keyword or a number.
    Word(String),
    /// Any other character.
    Sign(char),
    /// A string literal by its value; adjacent ones are one. In f-strings the fields stand as they are written.
    Text(String),
}

/// A logical line: lines in brackets belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The line it begins in, counted from 1.
    pub line: usize,
    pub indent: usize,
    pub tokens: Vec<Token>,
}

/// Source that is not Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    pub line: usize,
    pub why: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.why)
    }
}

impl Statement {
    /// Whether it begins with this word.
    pub fn begins_with(&self, word: &str) -> bool {
        matches!(self.tokens.first(), Some(Token::Word(first)) if first == word)
    }

    /// The texts in it, in their order.
    pub fn texts(&self) -> Vec<&str> {
        texts(&self.tokens)
    }
}

/// The texts among tokens.
pub fn texts(tokens: &[Token]) -> Vec<&str> {
    tokens
        .iter()
        .filter_map(|token| match token {
            Token::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// The logical lines of a source that hold anything.
///
/// # Errors
/// A string or a bracket that does not end.
pub fn statements(source: &str) -> Result<Vec<Statement>, Malformed> {
    let mut reader = Reader { rest: source, line: 1 };
    let mut statements = Vec::new();
    while !reader.rest.is_empty() {
        let indent = reader.indent();
        let line = reader.line;
        let tokens = reader.logical_line()?;
        if !tokens.is_empty() {
            statements.push(Statement { line, indent, tokens });
        }
    }
    Ok(statements)
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn take(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        self.line += usize::from(next == '\n');
        Some(next)
    }

    /// The white space a line begins with; a tab reaches to the next eighth column.
    fn indent(&mut self) -> usize {
        let mut indent = 0;
        while let Some(space) = self.rest.chars().next().filter(|space| matches!(space, ' ' | '\t')) {
            indent = if space == '\t' { (indent / 8 + 1) * 8 } else { indent + 1 };
            self.take();
        }
        indent
    }

    fn logical_line(&mut self) -> Result<Vec<Token>, Malformed> {
        let start = self.line;
        let mut tokens: Vec<Token> = Vec::new();
        let mut open = 0usize;
        loop {
            let Some(next) = self.rest.chars().next() else {
                return if open == 0 {
                    Ok(tokens)
                } else {
                    Err(Malformed { line: start, why: "a bracket is not closed" })
                };
            };
            match next {
                '\n' if open == 0 => {
                    self.take();
                    return Ok(tokens);
                }
                '#' => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                }
                '\\' if self.rest.starts_with("\\\n") || self.rest.starts_with("\\\r\n") => {
                    while self.take().is_some_and(|taken| taken != '\n') {}
                }
                space if space.is_whitespace() => {
                    self.take();
                }
                letter if letter.is_alphanumeric() || letter == '_' => {
                    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
                    let end = self.rest.find(|letter| !is_word(letter)).unwrap_or(self.rest.len());
                    let word = self.rest[..end].to_owned();
                    let quoted = self.rest[end..].starts_with(['"', '\'']);
                    self.rest = &self.rest[end..];
                    let prefix = word.len() <= 2 && word.chars().all(|letter| "rRbBfFuU".contains(letter));
                    if quoted && prefix {
                        let raw = word.contains(['r', 'R']);
                        let text = self.text(raw)?;
                        push_text(&mut tokens, text);
                    } else {
                        tokens.push(Token::Word(word));
                    }
                }
                '"' | '\'' => {
                    let text = self.text(false)?;
                    push_text(&mut tokens, text);
                }
                sign => {
                    open = match sign {
                        '(' | '[' | '{' => open + 1,
                        ')' | ']' | '}' => open.saturating_sub(1),
                        _ => open,
                    };
                    tokens.push(Token::Sign(sign));
                    self.take();
                }
            }
        }
    }

    /// A string literal, its quotes ahead.
    fn text(&mut self, raw: bool) -> Result<String, Malformed> {
        let start = self.line;
        let endless = Malformed { line: start, why: "a string is not closed" };
        let quote = self.take().ok_or_else(|| endless.clone())?;
        let triple = format!("{quote}{quote}");
        let long = self.rest.starts_with(&triple);
        let end = if long {
            self.rest = &self.rest[2..];
            format!("{quote}{triple}")
        } else {
            quote.to_string()
        };
        let mut text = String::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix(end.as_str()) {
                self.rest = rest;
                return Ok(text);
            }
            match self.take() {
                None => return Err(endless),
                Some('\n') if !long => return Err(endless),
                Some('\\') => {
                    let escaped = self.take().ok_or_else(|| endless.clone())?;
                    if raw {
                        text.extend(['\\', escaped]);
                    } else {
                        self.escape(escaped, &mut text);
                    }
                }
                Some(letter) => text.push(letter),
            }
        }
    }

    /// What a backslash and this character stand for; with unknown ones the backslash stays.
    fn escape(&mut self, escaped: char, text: &mut String) {
        let simple = match escaped {
            '\n' => return,
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            '\\' | '\'' | '"' => Some(escaped),
            _ => None,
        };
        let digits = match escaped {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let code = self.rest.get(..digits).filter(|_| digits > 0);
        let coded = code.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32);
        match (simple, coded) {
            (Some(letter), _) => text.push(letter),
            (None, Some(letter)) => {
                self.rest = &self.rest[digits..];
                text.push(letter);
            }
            (None, None) => text.extend(['\\', escaped]),
        }
    }
}

fn push_text(tokens: &mut Vec<Token>, text: String) {
    if let Some(Token::Text(before)) = tokens.last_mut() {
        before.push_str(&text);
    } else {
        tokens.push(Token::Text(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn logical_lines_hold_their_texts() {
        let source = "def f(a,\n      b):\n    # x = \"no\"\n    t = 'it''s' \"\\n\\x41\\q\" # end\n\n\tu = f'{a[\"k\"]}' + r\"\\n\"\nv = \\\n  '''a\n\"b'''\n";
        let found = statements(source).unwrap();
        let shape: Vec<(usize, usize, Vec<&str>)> =
            found.iter().map(|statement| (statement.line, statement.indent, statement.texts())).collect();
        let expected =
            [(1, 0, vec![]), (4, 4, vec!["its\nA\\q"]), (6, 8, vec!["{a[\"k\"]}", "\\n"]), (7, 0, vec!["a\n\"b"])];
        assert_eq!(shape, expected);
        assert!(found[0].begins_with("def"));
    }

    #[test]
    fn what_does_not_end_is_refused_by_line() {
        assert_eq!(statements("a\nb = 'x\n").unwrap_err(), Malformed { line: 2, why: "a string is not closed" });
        assert_eq!(statements("a = (\n").unwrap_err(), Malformed { line: 1, why: "a bracket is not closed" });
        assert_eq!(statements("'''").unwrap_err().why, "a string is not closed");
        assert_eq!(statements("'\\").unwrap_err().why, "a string is not closed");
    }

    proptest! {
        #[test]
        fn no_source_makes_it_fail_otherwise(source in "[a-f(){}\\[\\]'\"\\\\#\n\t xu0é=]{0,60}") {
            if let Ok(statements) = statements(&source) {
                prop_assert!(statements.iter().all(|statement| !statement.tokens.is_empty()));
            }
        }
    }
}
