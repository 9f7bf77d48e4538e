//! Faults of a pipeline file as text: message, place, the line with the fault marked, and what would be right.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};
use serde_json::{Value, json};

use crate::pipeline::{Diagnostic, Diagnostics, Place};

/// All faults in file order, then how many there are.
pub(super) fn render(diagnostics: &Diagnostics, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
    let mut text = String::new();
    for diagnostic in &diagnostics.list {
        text.push_str(&renderer.render(&[group(diagnostics, diagnostic)]));
        text.push_str("\n\n");
    }
    if diagnostics.list.len() > 1 {
        text.push_str(&format!("{} errors in {}\n", diagnostics.list.len(), diagnostics.texts.main_name()));
    } else {
        text.pop();
    }
    text
}

fn group<'a>(diagnostics: &'a Diagnostics, diagnostic: &Diagnostic) -> Group<'a> {
    let texts = &diagnostics.texts;
    let marks = std::iter::once((AnnotationKind::Primary, diagnostic.place, &diagnostic.label))
        .chain(diagnostic.notes.iter().map(|(place, label)| (AnnotationKind::Context, *place, label)));
    let mut group = Level::ERROR
        .primary_title(normalize_untrusted_str(&diagnostic.message))
        .elements(Vec::<Snippet<'a, annotate_snippets::Annotation<'a>>>::new());
    // One snippet per text, in order of first mention, so that the primary mark comes first.
    let mut snippets: Vec<(Place, Snippet<'a, annotate_snippets::Annotation<'a>>)> = Vec::new();
    for (kind, place, label) in marks {
        let mut mark = kind.span(texts.first_line(place));
        if !label.is_empty() {
            mark = mark.label(normalize_untrusted_str(label));
        }
        match snippets.iter().position(|(first, _)| first.text == place.text) {
            Some(index) => {
                let (first, snippet) = snippets.swap_remove(index);
                snippets.insert(index, (first, snippet.annotation(mark)));
            }
            None => {
                let snippet = Snippet::source(texts.content(place))
                    .path(normalize_untrusted_str(texts.name(place)))
                    .annotation(mark);
                snippets.push((place, snippet));
            }
        }
    }
    group = group.elements(snippets.into_iter().map(|(_, snippet)| snippet));
    group.elements(diagnostic.help.iter().map(|help| Level::HELP.message(normalize_untrusted_str(help))))
}

/// All faults as JSON objects: message, file, line, column (both from 1), help.
pub(super) fn objects(diagnostics: &Diagnostics) -> Vec<Value> {
    let object = |diagnostic: &Diagnostic| {
        let (line, column) = diagnostics.texts.line_and_column(diagnostic.place);
        json!({
            "message": diagnostic.message,
            "file": diagnostics.texts.name(diagnostic.place),
            "line": line,
            "column": column,
            "detail": diagnostic.label,
            "help": diagnostic.help,
        })
    };
    diagnostics.list.iter().map(object).collect()
}
