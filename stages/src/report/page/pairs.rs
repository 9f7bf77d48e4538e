//! A few preference pairs to read, chosen and rejected side by side. Every text is escaped by the template.

use maud::{Markup, html};

use super::super::format::fixed;
use super::super::pairs::{Pair, Pairs, Response};

/// The pairs.
pub(super) fn section(pairs: &Pairs) -> Markup {
    html! {
        section class="pairs" {
            h2 { "Preference pairs" }
            p class="note" {
                (pairs.read.len()) " of " (pairs.count) " pairs, evenly spread over the table. "
                "Chosen: the model's own answer; rejected: its answer with the retrieval heads masked. "
                "On average they are " (fixed(pairs.mean_chosen_tokens, 0)) " and " (fixed(pairs.mean_rejected_tokens, 0))
                " tokens long. The first words that differ are marked."
            }
            @for (index, pair) in pairs.read.iter().enumerate() { (article(index, pair)) }
        }
    }
}

fn article(index: usize, pair: &Pair) -> Markup {
    html! {
        article class="pair" aria-label=(format!("Pair {}", index + 1)) {
            div class="prompt" {
                @for (role, content) in &pair.prompt {
                    h3 { (role) }
                    p class="text" dir="auto" { (content.text) (more(content.left_out)) }
                }
            }
            div class="sides" {
                (side("chosen", &pair.chosen))
                (side("rejected", &pair.rejected))
            }
        }
    }
}

fn side(name: &str, response: &Response) -> Markup {
    html! {
        div class=(name) {
            h3 { (name) span class="last" { (response.tokens) " tokens, ended by " (response.stop) } }
            p class="text" dir="auto" {
                (response.shared)
                @if !response.differing.is_empty() { mark { (response.differing) } }
                (response.rest)
                (more(response.left_out))
            }
        }
    }
}

fn more(left_out: usize) -> Markup {
    html! { @if left_out > 0 { span class="more" { " \u{2026} " (left_out) " more characters" } } }
}
