//! From a pipeline file to a checked, typed graph of stages.
//!
//! The file becomes one tree of our own ([`yaml`], [`tree`]) in which every value keeps its place, put together with
//! those it extends ([`extends`]). Overrides
//! ([`overrides`]) and references ([`substitute`]) work on the tree, and stages over a [`matrix`] are instantiated
//! with their references. Then the tree is read by its shape ([`declaration`], [`sources`], [`resources`]), each `with` is decoded
//! into its kind's parameters ([`kinds`], [`decode`]), and the names are linked to a typed graph ([`link`]).
//! All independent faults are reported together, in file order.

mod address;
mod cycles;
mod declaration;
mod decode;
mod diagnostic;
mod extends;
mod graph;
mod hub_source;
mod json_schema;
mod kinds;
mod link;
mod matrix;
mod names;
mod only;
mod overrides;
mod own_ports;
mod place;
mod resources;
mod sources;
mod substitute;
mod topology;
mod tree;
mod yaml;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use graph::{
    Binding, HubLocation, Location, Origin, Pipeline, Resources, Source, SourceIndex, Stage, StageIndex, Vertex, Work,
};
pub use json_schema::json_schema;
pub use names::suggest;
pub use place::{Place, Texts};

use crate::error::{Error, Result};

/// The largest pipeline file. Real ones have some kilobytes.
const MAX_FILE_BYTES: usize = 4 << 20;

/// Reads a pipeline file, applies the overrides (`PATH=VALUE`), and checks everything that can be checked
/// without looking at data.
///
/// # Errors
/// `Input` with every fault of the file and its place; `Environment` when a file that is there cannot be read.
pub fn read(path: &Path, overrides: &[String]) -> Result<Pipeline> {
    let content = read_text(path)?;
    let mut texts = Texts::default();
    texts.add_file(path.display().to_string(), content.as_str());
    let mut faults = Vec::new();
    match build(&content, path, overrides, &mut texts, &mut faults)? {
        Some(parts) if faults.is_empty() => Ok(parts.into_pipeline(path.to_owned(), texts)),
        None if faults.is_empty() => Err(Error::internal("a pipeline was refused without a reason")),
        _ => Err(Diagnostics::new(texts, faults).into()),
    }
}

fn build(
    content: &str,
    path: &Path,
    overrides: &[String],
    texts: &mut Texts,
    faults: &mut Vec<Diagnostic>,
) -> Result<Option<link::Linked>> {
    let root = match yaml::parse(0, 0, content) {
        Ok(root) => root,
        Err(mut found) => {
            faults.append(&mut found);
            return Ok(None);
        }
    };
    let Some(mut root) = extends::resolve(root, path, texts, faults)? else { return Ok(None) };
    overrides::apply(&mut root, overrides, texts, faults);
    let linked = substitute::expand(&root, texts, faults).and_then(|expanded| {
        let declared = declaration::read(&expanded, faults)?;
        link::link(declared, faults)
    });
    *faults = matrix::without_repeats(std::mem::take(faults));
    Ok(linked)
}

/// The file's text, no more than a pipeline can need.
fn read_text(path: &Path) -> Result<String> {
    let failed = |error: std::io::Error| {
        let message = format!("cannot read the pipeline file {}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::IsADirectory | std::io::ErrorKind::NotADirectory => {
                Error::input(message)
            }
            _ => Error::environment(message),
        }
    };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Error::input(format!(
            "{} is larger than {} MiB: not a pipeline file",
            path.display(),
            MAX_FILE_BYTES >> 20
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..position].iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::input(format!("{}:{line}: the file is not UTF-8 text", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::output::{ColorChoice, Printer};

    const WHOLE: &str = "version: 1\nname: whole\nparams: {tau: 0.2, list: [1, 2]}\nmatrix: {seed: [1, 2], of: {a: {x: 3}}}\nsources:\n  \
                         scores: {published-scores: \"${params.tau}/a\", fetch: scripts/fetch-data}\nstages:\n  \
                         mask: &m\n    kind: build-mask\n    in: {scores: scores}\n    with: {tau: \"${params.tau}\"}\n    \
                         resources: {cpus: 1, memory: 1GB}\n  other: *m\n  \
                         many: {matrix: [of, seed], kind: build-mask, in: {scores: scores}, with: {seed: \"${matrix.of.x}\"}}\n";

    /// Reads a text, and if it is refused checks that every fault can be shown. Whether it was accepted.
    fn survives(content: &str, overrides: &[String]) -> bool {
        let mut texts = Texts::default();
        texts.add_file("file", content);
        let mut faults = Vec::new();
        let built = build(content, Path::new("file"), overrides, &mut texts, &mut faults);
        let accepted = built.expect("no file that cannot be read").is_some();
        assert_eq!(accepted, faults.is_empty(), "{faults:?}");
        let faults = Diagnostics::new(texts, faults);
        for fault in &faults.list {
            for place in std::iter::once(fault.place).chain(fault.notes.iter().map(|(place, _)| *place)) {
                let content = faults.texts.content(place);
                assert!(content.get(place.start as usize..place.end as usize).is_some(), "{fault:?}");
            }
        }
        if !accepted {
            let printer = Printer::new(ColorChoice::Never, false, false);
            assert!(printer.describe(&faults.into()).starts_with("error: "));
        }
        accepted
    }

    #[test]
    fn the_whole_file_is_accepted() {
        assert!(survives(WHOLE, &[]));
    }

    proptest! {
        #[test]
        fn no_text_panics(content in "[a-z0-9:\\-\\[\\]{}\"'&*!|>#%@`~$., \n\té]{0,200}") {
            survives(&content, &[]);
        }

        #[test]
        fn no_change_of_a_file_panics(
            start in 0..WHOLE.len(), length in 0..30_usize, with in "[a-z:\\[\\]{}\"&*$.\n é-]{0,12}", set in "[a-z.=${}\\[]{0,20}",
        ) {
            let end = (start + length).min(WHOLE.len());
            let content = format!("{}{with}{}", &WHOLE[..start], &WHOLE[end..]);
            survives(&content, &[]);
            survives(WHOLE, &[set.clone(), format!("stages.mask.{set}"), format!("params.tau={set}")]);
        }
    }
}
