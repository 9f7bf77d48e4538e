//! `--only`: the stages that are named, and what they need.

use std::collections::BTreeSet;

use super::graph::{Origin, Pipeline, Stage, StageIndex};
use super::{names, topology};
use crate::error::{Error, Result};

impl Pipeline {
    /// The pipeline reduced to the stages that any of the patterns names, and to all that these read. Without
    /// patterns it stays whole.
    ///
    /// Patterns are those of [`Self::named`].
    ///
    /// # Errors
    /// `Input` for a pattern that names no stage.
    pub fn only(mut self, patterns: &[String]) -> Result<Self> {
        if patterns.is_empty() {
            return Ok(self);
        }
        let mut open: Vec<usize> = self.named("--only ", patterns)?.into_iter().map(|stage| stage.0).collect();
        let mut kept = BTreeSet::new();
        while let Some(stage) = open.pop() {
            if kept.insert(stage) {
                open.extend(self.stages[stage].inputs.iter().filter_map(|input| match input.origin {
                    Origin::Stage { stage, .. } => Some(stage.0),
                    Origin::Source(_) => None,
                }));
            }
        }
        let mut index = vec![None; self.stages.len()];
        for (new, old) in kept.iter().enumerate() {
            index[*old] = Some(StageIndex(new));
        }
        let stages = std::mem::take(&mut self.stages).into_iter().enumerate();
        self.stages = stages.filter(|(old, _)| kept.contains(old)).map(|(_, stage)| stage).collect();
        for input in self.stages.iter_mut().flat_map(|stage| &mut stage.inputs) {
            if let Origin::Stage { stage, .. } = &mut input.origin {
                *stage = index[stage.0].ok_or_else(|| Error::internal("a stage was left out that another reads"))?;
            }
        }
        self.graph = topology::graph(&self.sources, &self.stages);
        self.order = topology::order(&self.graph, self.sources.len(), self.stages.len());
        Ok(self)
    }

    /// The stages that any of the patterns names, in file order. `what` stands before the pattern in messages.
    ///
    /// In a pattern `*` stands for any characters and `?` for one; all others, brackets too, stand for
    /// themselves. A pattern without brackets also names the stage of the file, which is all its instances.
    ///
    /// # Errors
    /// `Input` for a pattern that names no stage.
    pub fn named(&self, what: &str, patterns: &[String]) -> Result<Vec<StageIndex>> {
        let mut found = BTreeSet::new();
        for pattern in patterns {
            let named = |stage: &Stage| matches(pattern, &stage.name) || matches(pattern, &stage.instance.stage);
            let fitting = (0..self.stages.len()).filter(|&index| named(&self.stages[index])).map(StageIndex);
            let fitting: Vec<StageIndex> = fitting.collect();
            if fitting.is_empty() {
                let stages = self.stages.iter().map(|stage| stage.name.as_str());
                let error = Error::input(format!("{what}`{pattern}` names no stage of {}", self.path.display()));
                return Err(error.with_hint(names::suggest(pattern, "its stages", stages).join("; ")));
            }
            found.extend(fitting);
        }
        Ok(found.into_iter().collect())
    }
}

/// Whether a text is what a pattern describes. Takes at most `pattern x text` steps.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut position) = (0, 0);
    // The last `*`, and where the text after what it stands for begins.
    let mut star: Option<(usize, usize)> = None;
    while position < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == text[position] => {
                at += 1;
                position += 1;
            }
            _ => {
                let Some((star_at, from)) = star else { return false };
                star = Some((star_at, from + 1));
                at = star_at + 1;
                position = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::matches;

    #[test]
    fn brackets_stand_for_themselves() {
        for (pattern, text) in [
            ("helmet", "helmet"),
            ("helmet[mask=random*]", "helmet[mask=random-1]"),
            ("*", ""),
            ("*[mask=random-?]", "pairs[mask=random-3]"),
            ("*mask=*1*", "a[mask=0.1,seed=2]"),
            ("**", "x"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("helmet", "helmet-score"),
            ("helmet[m]", "helmetm"),
            ("helmet[mask=random]", "helmet[mask=random-1]"),
            ("?", ""),
            ("", "x"),
            ("a*b", "a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn as_the_plain_definition(pattern in "[ab*?\\[]{0,7}", text in "[ab\\[]{0,7}") {
            fn plain(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.first(), text.first()) {
                    (None, None) => true,
                    (Some(b'*'), _) => {
                        plain(&pattern[1..], text) || !text.is_empty() && plain(pattern, &text[1..])
                    }
                    (Some(b'?'), Some(_)) => plain(&pattern[1..], &text[1..]),
                    (Some(wanted), Some(found)) => wanted == found && plain(&pattern[1..], &text[1..]),
                    _ => false,
                }
            }
            prop_assert_eq!(matches(&pattern, &text), plain(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
