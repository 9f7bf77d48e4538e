//! Comma-separated values as RFC 4180 has them: quoted fields may hold commas, doubled quotes and newlines. And the
//! looser kind that Python's `csv` reads.

/// How fields are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    pub separator: char,
    /// Spaces after a separator do not count, a quote inside a field that is not quoted is a character, and so is
    /// what follows a closing quote: `csv.reader(..., skipinitialspace=True)`.
    pub loose: bool,
}

/// RFC 4180.
pub const COMMAS: Dialect = Dialect { separator: ',', loose: false };

/// A record and the line it begins on, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub line: usize,
    pub fields: Vec<String>,
}

/// Reads all records, the header included. Empty lines are no records.
///
/// # Errors
/// The line and what is wrong with it.
pub fn records(text: &str, dialect: Dialect) -> Result<Vec<Record>, (usize, String)> {
    let mut records = Vec::new();
    let mut characters = text.chars().peekable();
    let mut line = 1;
    while characters.peek().is_some() {
        let mut record = Record { line, fields: vec![String::new()] };
        let mut quoted = false;
        loop {
            let field = record.fields.last_mut().map_or(0, |field| field.len());
            match (characters.next(), quoted) {
                (None, true) => return Err((record.line, "a quoted field is not closed".into())),
                (None | Some('\n'), false) => break,
                (Some('\r'), false) if matches!(characters.peek(), None | Some('\n')) => {}
                (Some(letter), false) if letter == dialect.separator => record.fields.push(String::new()),
                (Some(' '), false) if dialect.loose && field == 0 => {}
                (Some('"'), false) if field == 0 => quoted = true,
                (Some('"'), false) if !dialect.loose => {
                    return Err((line, "a quote inside a field that is not quoted".into()));
                }
                (Some('"'), true) => {
                    quoted = false;
                    match characters.peek() {
                        Some('"') => {
                            characters.next();
                            push(&mut record, '"');
                            quoted = true;
                        }
                        None | Some('\n' | '\r') => {}
                        Some(_) if dialect.loose => {}
                        Some(&letter) if letter == dialect.separator => {}
                        Some(_) => return Err((line, "text after the closing quote of a field".into())),
                    }
                }
                (Some(character), _) => {
                    line += usize::from(character == '\n');
                    push(&mut record, character);
                }
            }
        }
        line += 1;
        if record.fields != [""] {
            records.push(record);
        }
    }
    Ok(records)
}

fn push(record: &mut Record, character: char) {
    if let Some(field) = record.fields.last_mut() {
        field.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_hold_commas_quotes_and_newlines() {
        let read = records("a,b\r\n\"x, \"\"y\"\"\nz\",\n\nlast,\"\"", COMMAS).unwrap();
        let expected = [(1, ["a", "b"]), (2, ["x, \"y\"\nz", ""]), (5, ["last", ""])];
        let read: Vec<(usize, Vec<&str>)> =
            read.iter().map(|record| (record.line, record.fields.iter().map(String::as_str).collect())).collect();
        assert_eq!(read, expected.map(|(line, fields)| (line, fields.to_vec())));
    }

    #[test]
    fn malformed_quotes_are_refused_with_their_line() {
        assert_eq!(records("a\n\"b", COMMAS).unwrap_err().0, 2);
        assert_eq!(records("a\nb\"c\n", COMMAS).unwrap_err().0, 2);
        assert_eq!(records("\"a\"b", COMMAS).unwrap_err(), (1, "text after the closing quote of a field".into()));
    }

    #[test]
    fn the_loose_kind_takes_stray_quotes_and_spaces() {
        let read = records("a; \"b;c\";d \"e\"\n", Dialect { separator: ';', loose: true }).unwrap();
        assert_eq!(read[0].fields, ["a", "b;c", "d \"e\""]);
    }
}
