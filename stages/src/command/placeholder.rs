//! `{in.NAME}`, `{out.NAME}`, `{scratch}` and `{threads}` in the arguments and variables of a program. All else in
//! braces stands for itself, so that code and JSON can be handed over.

use std::ffi::OsString;
use std::path::Path;

use crate::contract::{Inputs, Outputs, StageError, StageResult};

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// An input port, or `PORT.LABEL` of a labelled one.
    Input(&'a str),
    Output(&'a str),
    Scratch,
    Threads,
}

/// The placeholders of a text, in order.
pub fn places(text: &str) -> impl Iterator<Item = Place<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, place, after) = next(rest)?;
        rest = after;
        Some(place)
    })
}

/// The text with every placeholder replaced.
///
/// # Errors
/// `Internal` for a name that was not checked; `Environment` when there is no working directory.
pub fn fill(text: &str, inputs: &Inputs, outputs: &Outputs, scratch: &Path) -> StageResult<OsString> {
    let mut filled = OsString::new();
    let mut rest = text;
    while let Some((before, place, after)) = next(rest) {
        filled.push(before);
        match place {
            Place::Input(name) => {
                let (port, label) = name.split_once('.').unwrap_or((name, ""));
                let input = inputs.labelled(port).iter().find(|(found, _)| found == label);
                let (_, input) = input.ok_or_else(|| StageError::internal(format!("no input `{name}`")))?;
                // The program starts in a folder of its own.
                let path = std::path::absolute(&input.path);
                filled.push(path.map_err(|error| StageError::io("find", &input.path, &error))?);
            }
            Place::Output(name) => filled.push(outputs.path(name)),
            Place::Scratch => filled.push(scratch),
            Place::Threads => filled.push(rayon::current_num_threads().to_string()),
        }
        rest = after;
    }
    filled.push(rest);
    Ok(filled)
}

/// The first placeholder, what stands before it and what follows.
fn next(text: &str) -> Option<(&str, Place<'_>, &str)> {
    for (start, _) in text.match_indices('{') {
        let length = text[start..].find('}')?;
        let inside = &text[start + 1..start + length];
        let plain = |name: &&str| {
            !name.is_empty()
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
        };
        let place = match inside {
            "scratch" => Some(Place::Scratch),
            "threads" => Some(Place::Threads),
            _ => inside
                .strip_prefix("in.")
                .filter(plain)
                .map(Place::Input)
                .or_else(|| inside.strip_prefix("out.").filter(plain).map(Place::Output)),
        };
        if let Some(place) = place {
            return Some((&text[..start], place, &text[start + length + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Media;

    #[test]
    fn placeholders_are_replaced_and_nothing_else() {
        let mut inputs = Inputs::default();
        inputs.insert("model", "", Media::Model, "/a/model");
        inputs.insert("of", "base", Media::File, "/a/base");
        inputs.insert("here", "", Media::File, "source.txt");
        let outputs = Outputs::new("/o");
        let fill = |text| fill(text, &inputs, &outputs, Path::new("/s")).unwrap().into_string().unwrap();
        assert_eq!(fill("{in.model}:{in.of.base}:{out.x}:{scratch}"), "/a/model:/a/base:/o/x:/s");
        let here = std::env::current_dir().unwrap().join("source.txt");
        assert_eq!(fill("{in.here}"), here.to_str().unwrap());
        for same in ["print({'a': 1})", "{in.}", "{In.model}", "{", "}{", "{in.model", "{{}}"] {
            assert_eq!(fill(same), same);
        }
        assert_eq!(fill("{a{out.x}}"), "{a/o/x}");
        assert_eq!(
            places("{in.a}{out.b} {threads}").collect::<Vec<_>>(),
            [Place::Input("a"), Place::Output("b"), Place::Threads]
        );
    }
}
