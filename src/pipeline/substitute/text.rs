//! How references are written in a text.

/// A piece of a scalar.
pub(super) enum Piece<'a> {
    Text(&'a str),
    Reference(&'a str),
    /// A `${` without its `}`.
    Unclosed(&'a str),
}

/// The path of a text that is one reference and nothing else.
pub(super) fn whole_reference(text: &str) -> Option<&str> {
    let path = text.strip_prefix("${")?.strip_suffix('}')?;
    (!path.contains(['{', '}'])).then_some(path)
}

/// The pieces of a text.
pub(super) fn split(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([Piece::Text(before), Piece::Text("${")]);
            rest = &from[2..];
            continue;
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let Some(length) = from.find('}') else {
            pieces.push(Piece::Unclosed(from));
            return pieces;
        };
        pieces.push(Piece::Reference(&from[2..length]));
        rest = &from[length + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}
