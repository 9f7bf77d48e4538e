//! `matrix`: a stage declared once and instantiated for every point of its axes.
//!
//! An instance is named `STAGE[AXIS=LABEL,...]`, its axes in the order in which the file declares them. Names are
//! for people: no key holds one.

use super::tree::{Entry, Node, Value, shorten};
use super::{Diagnostic, Place, declaration, names};

/// The most stages a pipeline may have after every matrix is instantiated.
pub const MAX_STAGES: usize = 2_000;
/// The longest name of an instance, in bytes: it names a log file too.
const MAX_NAME: usize = 200;

/// One axis: labels, and what `${matrix.AXIS}` stands for at each.
pub struct Axis {
    pub name: String,
    place: Place,
    points: Vec<(String, Node)>,
}

/// A stage of the file, or one instance of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The stage's name in the file.
    pub stage: String,
    /// Axis and label of every axis of the stage; empty for a stage without `matrix`.
    pub point: Vec<(String, String)>,
    /// The stage's `matrix` is faulty, which has been reported: its instances are not known.
    pub faulty: bool,
}

impl Instance {
    /// A stage without `matrix`.
    pub fn single(stage: &str) -> Self {
        Self { stage: stage.to_owned(), point: Vec::new(), faulty: false }
    }

    /// The name in plans, runs and addresses.
    pub fn name(&self) -> String {
        if self.point.is_empty() {
            return self.stage.clone();
        }
        let point: Vec<String> = self.point.iter().map(|(axis, label)| format!("{axis}={label}")).collect();
        format!("{}[{}]", self.stage, point.join(","))
    }

    /// The label on an axis, if the stage has that axis.
    pub fn label(&self, axis: &str) -> Option<&str> {
        self.point.iter().find(|(name, _)| name == axis).map(|(_, label)| label.as_str())
    }
}

/// One point of some axes: what an instance is made from.
pub struct Point<'a> {
    /// Axis, label and value.
    pub coordinates: Vec<(&'a str, &'a str, &'a Node)>,
}

/// Reads the file's `matrix`. Axes with faults are left out after reporting.
pub fn axes(node: &Node, faults: &mut Vec<Diagnostic>) -> Vec<Axis> {
    if node.is_null() {
        return Vec::new();
    }
    let Some(mapping) = declaration::map(node, "`matrix`", faults) else { return Vec::new() };
    mapping.entries.iter().filter_map(|entry| axis(entry, faults)).collect()
}

fn axis(entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Axis> {
    let name = shorten(&entry.key);
    let before = faults.len();
    if !names::is_valid(&entry.key) {
        let fault = Diagnostic::new(entry.key_place, format!("`{name}` cannot be the name of an axis"));
        faults.push(fault.help("a name is made of a-z, 0-9 and -, and starts with a letter or digit"));
    }
    let mut points: Vec<(String, Place, Node)> = Vec::new();
    match &entry.value.value {
        Value::Unresolved => return None,
        Value::Sequence(items) => {
            for item in items {
                match item.scalar() {
                    Some(scalar) if !item.is_null() => points.push((scalar.text.clone(), item.place, item.clone())),
                    _ if item.is_unresolved() => return None,
                    _ => {
                        let message = format!("a value in the list of axis `{name}` is {}", item.describe());
                        let fault = Diagnostic::new(item.place, message);
                        faults.push(fault.help(format!("give every value a name: `{name}: {{NAME: VALUE, ...}}`")));
                    }
                }
            }
        }
        Value::Mapping(mapping) => {
            points
                .extend(mapping.entries.iter().map(|point| (point.key.clone(), point.key_place, point.value.clone())));
        }
        Value::Scalar(_) => {
            let message = format!(
                "axis `{name}` is a list of values, or a map from a name to each, found {}",
                entry.value.describe()
            );
            faults.push(declaration::used(Diagnostic::new(entry.value.place, message), &entry.value));
        }
    }
    for (index, (label, place, _)) in points.iter().enumerate() {
        if !is_label(label) {
            let message = format!("`{}` cannot name a point of axis `{name}`", shorten(label));
            let fault = Diagnostic::new(*place, message);
            faults.push(fault.help(
                "such a name is made of a-z, 0-9, - and ., and starts with a letter or digit; values of any kind \
                 stand in a map from such names",
            ));
        }
        if let Some((_, first, _)) = points[..index].iter().find(|(other, _, _)| other == label) {
            let message = format!("`{}` stands twice on axis `{name}`", shorten(label));
            faults.push(Diagnostic::new(*place, message).note(*first, "first here"));
        }
    }
    if points.is_empty() && faults.len() == before {
        faults.push(Diagnostic::new(entry.key_place, format!("axis `{name}` has no values")));
    }
    let points = points.into_iter().map(|(label, _, value)| (label, value)).collect();
    (faults.len() == before).then(|| Axis { name: entry.key.clone(), place: entry.key_place, points })
}

/// As a name, but with dots: labels are often numbers.
fn is_label(label: &str) -> bool {
    names::is_valid(&label.replace('.', "0")) && !label.starts_with('.')
}

/// The axes a stage's `matrix` names (one, or a list), in the file's order; `None` after reporting a fault.
pub fn chosen<'a>(
    stage: &str,
    node: &Node,
    axes: &'a [Axis],
    faulty: bool,
    faults: &mut Vec<Diagnostic>,
) -> Option<Vec<&'a Axis>> {
    let named: Vec<&Node> = match &node.value {
        Value::Sequence(items) => items.iter().collect(),
        Value::Scalar(_) if !node.is_null() => vec![node],
        Value::Unresolved => return None,
        _ => Vec::new(),
    };
    if named.is_empty() {
        let message = format!("`matrix` of stage `{stage}` is an axis, or a list of axes, found {}", node.describe());
        let mut fault = declaration::used(Diagnostic::new(node.place, message), node);
        fault.help = vec![known_axes(axes)];
        faults.push(fault);
        return None;
    }
    let mut chosen = vec![false; axes.len()];
    let mut complete = true;
    for item in named {
        let name = item.scalar().map_or("", |scalar| scalar.text.as_str());
        let Some(index) = axes.iter().position(|axis| axis.name == name) else {
            complete = false;
            // A faulty axis has been reported, and may be the one that is meant.
            if item.is_unresolved() || faulty {
                continue;
            }
            let message = match item.scalar() {
                Some(_) => format!("there is no axis `{}`", shorten(name)),
                None => format!("an axis is named here, found {}", item.describe()),
            };
            let mut fault = declaration::used(Diagnostic::new(item.place, message), item);
            fault.help = if axes.is_empty() {
                vec![known_axes(axes)]
            } else {
                names::suggest(name, "axes", axes.iter().map(|axis| axis.name.as_str()))
            };
            faults.push(fault);
            continue;
        };
        if std::mem::replace(&mut chosen[index], true) {
            let fault = Diagnostic::new(item.place, format!("the axis `{name}` stands twice"));
            faults.push(fault);
            complete = false;
        }
    }
    complete.then(|| axes.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(axis, _)| axis).collect())
}

fn known_axes(axes: &[Axis]) -> String {
    if axes.is_empty() {
        return "axes are declared in the file's own `matrix`: `matrix: {seed: [1, 2, 3]}`".into();
    }
    format!("axes: {}", names::list_names(&axes.iter().map(|axis| axis.name.as_str()).collect::<Vec<_>>()))
}

/// Every point of the axes, the last axis running fastest; `None` after reporting that the file grows beyond its
/// limit, of which `stages` are used already.
pub fn points<'a>(
    axes: &[&'a Axis],
    stages: usize,
    place: Place,
    faults: &mut Vec<Diagnostic>,
) -> Option<Vec<Point<'a>>> {
    let count = axes.iter().try_fold(1_usize, |count, axis| count.checked_mul(axis.points.len()));
    if count.and_then(|count| count.checked_add(stages)).is_none_or(|count| count > MAX_STAGES) {
        let message = format!("with its instances the file grows beyond {MAX_STAGES} stages here");
        let fault = Diagnostic::new(place, message);
        faults.push(
            axes.iter().fold(fault, |fault, axis| fault.note(axis.place, format!("{} points", axis.points.len()))),
        );
        return None;
    }
    let mut points = vec![Vec::new()];
    for axis in axes {
        let further = points.iter().flat_map(|point: &Vec<_>| {
            axis.points.iter().map(move |(label, value)| {
                let mut longer = point.clone();
                longer.push((axis.name.as_str(), label.as_str(), value));
                longer
            })
        });
        points = further.collect();
    }
    Some(points.into_iter().map(|coordinates| Point { coordinates }).collect())
}

/// The instance of a stage at a point; a name that is too long is reported.
pub fn instance(stage: &str, point: &Point<'_>, place: Place, faults: &mut Vec<Diagnostic>) -> Instance {
    let labels = point.coordinates.iter().map(|(axis, label, _)| ((*axis).to_owned(), (*label).to_owned()));
    let instance = Instance { stage: stage.to_owned(), point: labels.collect(), faulty: false };
    let length = instance.name().len();
    if length > MAX_NAME {
        let message = format!("the names of the instances of `{}` are too long: {length} bytes", shorten(stage));
        faults
            .push(Diagnostic::new(place, message).help(format!("at most {MAX_NAME}: shorten the names of its points")));
    }
    instance
}

/// Drops what is the same fault in a further instance: the same place and words but for the instance's name.
pub fn without_repeats(faults: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut seen = std::collections::HashSet::new();
    let mut kept = Vec::with_capacity(faults.len());
    for fault in faults {
        let notes: Vec<Place> = fault.notes.iter().map(|(place, _)| *place).collect();
        if seen.insert((fault.place, notes, without_points(&fault.message))) {
            kept.push(fault);
        }
    }
    kept
}

/// A message with every `[AXIS=LABEL]` taken out.
fn without_points(message: &str) -> String {
    let mut rest = message;
    let mut text = String::with_capacity(message.len());
    while let Some(start) = rest.find('[') {
        let (before, from) = rest.split_at(start);
        text.push_str(before);
        match from.find(']') {
            Some(end) if from[..end].contains('=') => rest = &from[end + 1..],
            _ => {
                text.push('[');
                rest = &from[1..];
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for label in ["a", "0.1", "1e-3", "random-1", "3."] {
            assert!(is_label(label), "{label}");
        }
        for label in ["", ".1", "-1", "True", "a b", "a=b", "a]", "a,b", "a@b", "ä"] {
            assert!(!is_label(label), "{label}");
        }
    }

    #[test]
    fn points_are_taken_out_of_messages() {
        assert_eq!(without_points("stage `a[b=c,d=e]` lacks `x[y]` [z"), "stage `a` lacks `x[y]` [z");
    }
}
