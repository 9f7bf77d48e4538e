//! What is said of an input that is missing or does not fit.

use retmask_stages::artifact::Media;
use retmask_stages::contract::InputPort;

use super::super::declaration::{DeclaredSource, DeclaredStage, used};
use super::super::tree::Node;
use super::super::{Diagnostic, Place, names};
use super::Linker;

impl Linker<'_> {
    pub(super) fn mismatch(
        &self,
        stage: &DeclaredStage<'_>,
        port: &InputPort,
        node: &Node,
        media: Media,
        origin: Place,
    ) -> Diagnostic {
        let written = node.scalar().map_or("", |scalar| &scalar.text);
        let message = format!(
            "input `{}` of stage `{}` takes {}, and `{written}` brings {}",
            port.name,
            stage.name,
            list_media(port.media),
            media.name()
        );
        let mut fault = used(Diagnostic::new(node.place, message), node);
        fault = fault.note(origin, format!("brings {}", media.name()));
        fault.help.extend(self.brought_by(port.media, stage.name));
        fault
    }

    pub(super) fn missing(&self, stage: &DeclaredStage<'_>, port: &InputPort) -> Diagnostic {
        let message = format!("stage `{}` lacks its input `{}` ({})", stage.name, port.name, list_media(port.media));
        let place = stage.inputs.map_or(stage.place, |entry| entry.key_place);
        let mut fault = Diagnostic::new(place, message);
        let example = self.candidates(port.media, stage.name).into_iter().next().unwrap_or_else(|| "NAME".into());
        fault.help.push(format!("add `{}: {example}` under `in`", port.name));
        fault.help.extend(self.brought_by(port.media, stage.name));
        fault
    }

    /// What brings one of these media: sources, then outputs of other stages.
    fn candidates(&self, media: &[Media], reader: &str) -> Vec<String> {
        let sources = self.declared.sources.iter().filter_map(|DeclaredSource { name, media: brought, .. }| {
            brought.filter(|brought| media.contains(brought)).map(|_| (*name).to_owned())
        });
        let stages = self.declared.stages.iter().filter(|stage| stage.name != reader).flat_map(|stage| {
            let outputs = stage.kind.map_or(&[][..], |kind| kind.outputs);
            outputs
                .iter()
                .filter(|output| media.contains(&output.media))
                .map(|output| format!("{}.{}", stage.instance.stage, output.name))
        });
        let mut found: Vec<String> = sources.collect();
        for candidate in stages {
            // Every instance of a matrix has the same name here.
            if found.last() != Some(&candidate) && !found.contains(&candidate) {
                found.push(candidate);
            }
        }
        found
    }

    fn brought_by(&self, media: &[Media], reader: &str) -> Option<String> {
        let found = self.candidates(media, reader);
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        (!found.is_empty()).then(|| format!("what brings it: {}", names::list_names(&found)))
    }
}

fn list_media(media: &[Media]) -> String {
    media.iter().map(|media| media.name()).collect::<Vec<_>>().join(" or ")
}
