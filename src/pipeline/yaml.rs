//! YAML text to tree: one document, no tags, no duplicate keys, bounded depth and size.

use std::collections::HashMap;

use serde_yaml::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, Span, StructureStyle};

use super::tree::{Entry, MAX_DEPTH, MAX_NODES, MAX_TEXT, Mapping, Node, Scalar, Value};
use super::{Diagnostic, Place};

/// Parses `content`, which starts at byte `base` of the text `text`. An empty document is a null scalar.
///
/// # Errors
/// All structural faults; after a syntax error nothing more can be read, so it is the last.
pub fn parse(text: u32, base: usize, content: &str) -> Result<Node, Vec<Diagnostic>> {
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        disallow_directives: true,
    };
    let mut builder = Builder { text, base, content, stack: Vec::new(), root: None, ..Builder::default() };
    for event in Parser::new_from_str_with_options(content, options) {
        let outcome = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(builder.syntax_error(&error)),
        };
        if let Err(fault) = outcome {
            builder.faults.push(fault);
            return Err(builder.faults);
        }
    }
    if !builder.faults.is_empty() {
        return Err(builder.faults);
    }
    let empty = Place { text, start: base as u32, end: base as u32 };
    Ok(builder.root.unwrap_or_else(|| Node::new(empty, null())))
}

fn null() -> Value {
    Value::Scalar(Scalar { text: String::new(), plain: true })
}

/// A node as large as it counts against the limits.
#[derive(Clone)]
struct Measured {
    node: Node,
    nodes: usize,
    bytes: usize,
    depth: usize,
}

/// A list or map whose end has not been read yet.
struct Frame {
    value: Value,
    place: Place,
    block: bool,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, Place)>,
    seen: HashMap<String, Place>,
    nodes: usize,
    bytes: usize,
    depth: usize,
}

#[derive(Default)]
struct Builder<'a> {
    text: u32,
    base: usize,
    content: &'a str,
    stack: Vec<Frame>,
    root: Option<Node>,
    documents: usize,
    anchors: HashMap<usize, Measured>,
    nodes: usize,
    bytes: usize,
    faults: Vec<Diagnostic>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        let place = self.place(span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Diagnostic::new(
                        place,
                        "a pipeline file holds one document, and here a second one starts",
                    ));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span, place);
                // The parser spells a missing value `~`.
                let plain = style == ScalarStyle::Plain;
                let text = if plain && place.start == place.end { String::new() } else { text.into_owned() };
                let bytes = text.len();
                let node = Node::new(place, Value::Scalar(Scalar { text, plain }));
                self.count(1, bytes, place)?;
                self.finish(Measured { node, nodes: 1, bytes, depth: 1 }, anchor)?;
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span, place);
                self.open(Value::Sequence(Vec::new()), style, anchor, place)?;
            }
            Event::MappingStart(style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span, place);
                self.open(Value::Mapping(Mapping::default()), style, anchor, place)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(place)?,
            Event::Alias(anchor) => {
                let Some(measured) = self.anchors.get(&anchor).cloned() else {
                    return Err(Diagnostic::new(place, "this alias stands inside the value it stands for"));
                };
                self.count(measured.nodes, measured.bytes, place)?;
                self.finish(measured, 0)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn place(&self, span: Span) -> Place {
        let offset = |marker: granit_parser::Marker| self.base + marker.byte_offset().unwrap_or(0);
        let (start, end) = (offset(span.start), offset(span.end));
        Place { text: self.text, start: start as u32, end: end.max(start) as u32 }
    }

    fn refuse_tag(&mut self, tagged: bool, span: Span, place: Place) {
        if tagged {
            let place = span.tag_span().map_or(place, |tag| self.place(tag));
            self.faults.push(
                Diagnostic::new(place, "tags (`!...`) have no meaning in a pipeline file")
                    .help("put a value in quotes to make it text"),
            );
        }
    }

    fn count(&mut self, nodes: usize, bytes: usize, place: Place) -> Result<(), Diagnostic> {
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes > MAX_NODES || self.bytes > MAX_TEXT {
            return Err(Diagnostic::new(
                place,
                format!("the file grows beyond {MAX_NODES} values or {} MiB of text here", MAX_TEXT >> 20),
            )
            .help("each alias (`*name`) counts as much as what it stands for"));
        }
        Ok(())
    }

    fn open(&mut self, value: Value, style: StructureStyle, anchor: usize, place: Place) -> Result<(), Diagnostic> {
        self.count(1, 0, place)?;
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(place));
        }
        let block = style == StructureStyle::Block;
        self.stack.push(Frame {
            value,
            place,
            block,
            anchor,
            key: None,
            seen: HashMap::new(),
            nodes: 1,
            bytes: 0,
            depth: 1,
        });
        Ok(())
    }

    fn close(&mut self, end: Place) -> Result<(), Diagnostic> {
        let Some(mut frame) = self.stack.pop() else { return Ok(()) };
        // A block ends where its last value does: the end event stands after blank lines and comments.
        frame.place.end = match &frame.value {
            Value::Sequence(items) if frame.block => items.last().map_or(end.end, |item| item.place.end),
            Value::Mapping(mapping) if frame.block => {
                mapping.entries.last().map_or(end.end, |entry| entry.value.place.end.max(entry.key_place.end))
            }
            _ => end.end,
        };
        frame.place.end = frame.place.end.max(frame.place.start);
        let node = Node::new(frame.place, frame.value);
        self.finish(Measured { node, nodes: frame.nodes, bytes: frame.bytes, depth: frame.depth }, frame.anchor)
    }

    /// Remembers a complete node under its anchor and puts it where it belongs.
    fn finish(&mut self, measured: Measured, anchor: usize) -> Result<(), Diagnostic> {
        if anchor != 0 {
            self.anchors.insert(anchor, measured.clone());
        }
        if self.stack.len() + measured.depth > MAX_DEPTH {
            return Err(too_deep(measured.node.place));
        }
        let Measured { node, nodes, bytes, depth } = measured;
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.nodes += nodes;
        frame.bytes += bytes;
        frame.depth = frame.depth.max(depth + 1);
        match (&mut frame.value, frame.key.take()) {
            (Value::Sequence(items), _) => items.push(node),
            (Value::Mapping(mapping), Some((key, key_place))) => {
                if let Some(first) = frame.seen.insert(key.clone(), key_place) {
                    frame.seen.insert(key.clone(), first);
                    let fault =
                        Diagnostic::new(key_place, format!("the key `{}` stands twice", super::tree::shorten(&key)));
                    self.faults.push(fault.label("again here").note(first, "first here"));
                } else {
                    mapping.entries.push(Entry { key, key_place, value: node });
                }
            }
            (Value::Mapping(_), None) => {
                let place = node.place;
                let key = match node.value {
                    Value::Scalar(scalar) if scalar.plain && scalar.text == "<<" => {
                        self.faults.push(
                            Diagnostic::new(place, "merge keys (`<<`) are not part of YAML 1.2")
                                .help("use a parameter: `key: ${params.name}` copies a whole value"),
                        );
                        scalar.text
                    }
                    Value::Scalar(scalar) => scalar.text,
                    _ => {
                        self.faults.push(Diagnostic::new(place, "a key is a name, not a list or a map"));
                        String::new()
                    }
                };
                frame.key = Some((key, place));
            }
            // Only lists and maps are ever opened.
            (Value::Scalar(_) | Value::Unresolved, _) => {}
        }
        Ok(())
    }

    fn syntax_error(&self, error: &granit_parser::ScanError) -> Diagnostic {
        let start = error.marker().byte_offset().unwrap_or(0).min(self.content.len());
        let width = self.content[start..].chars().next().map_or(0, char::len_utf8);
        let place =
            Place { text: self.text, start: (self.base + start) as u32, end: (self.base + start + width) as u32 };
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
            return too_deep(place);
        }
        let fault = Diagnostic::new(place, format!("this is not valid YAML: {}", error.info()));
        let line_start = self.content[..start].rfind('\n').map_or(0, |position| position + 1);
        let line = self.content[line_start..].lines().next().unwrap_or_default();
        if line.contains("${") && line.contains(": {") || line.contains("[${") || line.contains(", ${") {
            return fault.help("inside { } and [ ] a reference needs quotes: \"${params.name}\"");
        }
        if line.contains('\t') {
            return fault.help("YAML is indented with spaces, not tabs");
        }
        fault
    }
}

fn too_deep(place: Place) -> Diagnostic {
    Diagnostic::new(place, format!("values are nested more than {MAX_DEPTH} levels deep here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(content: &str) -> Vec<String> {
        match parse(0, 0, content) {
            Ok(node) => panic!("accepted: {node:?}"),
            Err(faults) => faults.into_iter().map(|fault| fault.message).collect(),
        }
    }

    #[test]
    fn places_are_the_bytes_of_the_values() {
        let content = "a: 1\nbé: [x, 'y z']\nc:\n  d: e\n\n# end\n";
        let root = parse(0, 0, content).unwrap();
        let slice = |place: Place| &content[place.start as usize..place.end as usize];
        let map = root.mapping().unwrap();
        assert_eq!(map.keys().collect::<Vec<_>>(), ["a", "bé", "c"]);
        assert_eq!(slice(map.entries[0].value.place), "1");
        assert_eq!(slice(map.entries[1].key_place), "bé");
        assert_eq!(slice(map.entries[1].value.place), "[x, 'y z']");
        assert_eq!(slice(map.entries[2].value.place), "d: e");
        let Value::Sequence(items) = &map.entries[1].value.value else { panic!("not a list") };
        assert_eq!(slice(items[1].place), "'y z'");
        assert_eq!(items[1].scalar().unwrap().text, "y z");
    }

    #[test]
    fn a_missing_value_is_null_and_an_empty_document_too() {
        let root = parse(0, 0, "a:\nb: ~\n").unwrap();
        assert!(root.mapping().unwrap().entries.iter().all(|entry| entry.value.is_null()));
        assert!(parse(0, 0, "").unwrap().is_null());
        assert!(parse(0, 0, "# nothing\n").unwrap().is_null());
    }

    #[test]
    fn structural_faults_are_all_reported() {
        assert_eq!(
            messages("a: 1\na: 2\n? [x]\n: 1\nb: !!str 3\n<<: {}\n"),
            [
                "the key `a` stands twice",
                "a key is a name, not a list or a map",
                "tags (`!...`) have no meaning in a pipeline file",
                "merge keys (`<<`) are not part of YAML 1.2",
            ]
        );
        assert_eq!(messages("a: 1\n---\nb: 2\n").len(), 1);
    }

    #[test]
    fn depth_is_limited_also_through_aliases() {
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
        assert_eq!(messages(&deep).len(), 1);
        let half = MAX_DEPTH * 2 / 3;
        let nested = format!("{}x{}", "[".repeat(half), "]".repeat(half));
        let through = format!("a: &a {nested}\nb: {}*a{}\n", "[".repeat(half), "]".repeat(half));
        assert_eq!(messages(&through).len(), 1);
        assert!(parse(0, 0, &format!("a: &a {nested}\nb: *a\n")).is_ok());
    }

    #[test]
    fn alias_bombs_are_refused_quickly() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(messages(&bomb)[0].contains("grows beyond"));
        let own = "a: &a [*a]\n";
        assert_eq!(messages(own).len(), 1);
    }
}
