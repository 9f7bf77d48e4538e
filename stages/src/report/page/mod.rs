//! The page: one HTML file with its style and figures inside. It has no script and refers to nothing outside
//! itself; its content security policy has the browser hold it to that.

mod colour;
mod curves;
mod evaluation;
mod head_changes;
mod headline;
mod heat_map;
mod needle_grid;
mod pairs;
mod plot;
mod score_curve;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::findings::Findings;
use crate::contract::StageResult;

const STYLE: &str = include_str!("style.css");

/// The whole page.
///
/// # Errors
/// `Internal` when a figure cannot be drawn from checked findings.
pub(super) fn render(title: &str, findings: &Findings) -> StageResult<String> {
    let sections = [
        findings.heads.as_ref().map(|heads| html! { (heat_map::section(heads)) (score_curve::section(heads)) }),
        findings.head_changes.as_ref().map(|heads| {
            head_changes::section(heads, findings.spread.as_ref().zip(findings.trained_spread.as_ref()).map(Into::into))
        }),
        findings.needles.as_ref().map(needle_grid::section),
        curves::section(findings)?,
        findings.evaluation.as_ref().map(evaluation::section),
        findings.pairs.as_ref().filter(|pairs| !pairs.read.is_empty()).map(pairs::section),
    ];
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(colour::style())) (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header {
                        h1 { (title) }
                        p class="lead" {
                            "Heads that copy from far back in the context are found by needles in a haystack and masked; "
                            "the model learns to prefer its own answers to those it gives without them."
                        }
                    }
                    (headline::section(findings))
                    @for section in sections.into_iter().flatten() { (section) }
                }
            }
        }
    };
    Ok(page.into_string())
}

/// A figure with its caption; wide pictures scroll inside it.
fn figure(picture: Markup, caption: Markup) -> Markup {
    html! {
        figure {
            div class="scroll" { (picture) }
            figcaption { (caption) }
        }
    }
}

/// The sign of a number as a minus in place of a hyphen.
fn minus(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut before = ' ';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let sign =
            character == '-' && matches!(before, ' ' | '[') && characters.peek().is_some_and(char::is_ascii_digit);
        shown.push(if sign { '\u{2212}' } else { character });
        before = character;
    }
    shown.replace("->", "\u{2192}")
}

#[cfg(test)]
mod tests {
    use super::minus;

    #[test]
    fn only_signs_become_minus() {
        assert_eq!(minus("-1.0 [-2.0, 3.0]"), "\u{2212}1.0 [\u{2212}2.0, 3.0]");
        assert_eq!(minus("head 18-6, held-out, 5e-7"), "head 18-6, held-out, 5e-7");
        assert_eq!(minus("0.69 -> 0.60"), "0.69 \u{2192} 0.60");
    }
}
