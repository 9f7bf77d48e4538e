//! Systems side by side: every number with its difference from the first system's, over the same examples.

use retmask_stages::helmet::category::CATEGORIES;
use retmask_stages::metrics::bootstrap::{Bootstrap, Interval, Observation, RESAMPLES, differences};

use super::published::Published;
use super::systems::{Note, Number, Place, System, lengths};

/// The name of the row of HELMET's average.
const AVERAGE: &str = "Average";

/// A row: a number of every system.
pub struct Row {
    pub place: Place,
    /// By system.
    pub cells: Vec<Cell>,
    /// The published number; absent where nothing was given or nothing is published.
    pub published: Option<Beside>,
}

/// A number of a system.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    pub number: Option<Number>,
    /// This system minus the first, with its paired 95 % interval; absent for the first system, and where the two have
    /// not scored the same.
    pub difference: Option<Interval>,
}

/// What stands in the column of published numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Beside {
    Number(f64),
    /// The prompts have not the wording of the published runs.
    OwnWording,
    /// The records were generated: they are none of the published runs'.
    GeneratedRecords,
}

impl Beside {
    /// The number, or the word that says why it does not stand there.
    pub fn written(self, number: impl Fn(f64) -> String) -> String {
        match self {
            Self::Number(value) => number(value),
            Self::OwnWording => "own wording".into(),
            Self::GeneratedRecords => "generated records".into(),
        }
    }
}

/// The comparison, by length, then in the order of HELMET's categories, then the average.
pub struct Comparison {
    pub labels: Vec<String>,
    /// The model that the published numbers are of.
    pub published: Option<String>,
    pub rows: Vec<Row>,
    /// What has to be known, each with the systems it is about.
    pub notes: Vec<(Note, Vec<String>)>,
    /// Pairs of systems that were not scored on the same examples.
    pub unpaired: Vec<String>,
}

impl Comparison {
    /// Compares the systems with the first; `datasets` adds the numbers behind each category.
    pub fn new(systems: &[System], published: Option<&Published>, datasets: bool, seed: u64) -> Self {
        let mut comparison = Self {
            labels: systems.iter().map(|system| system.label.clone()).collect(),
            published: published.map(|published| published.model.clone()),
            rows: Vec::new(),
            notes: Vec::new(),
            unpaired: Vec::new(),
        };
        for length in lengths(systems) {
            for category in CATEGORIES {
                let own =
                    Place { length, category: category.name.into(), dataset: String::new(), metric: String::new() };
                let measures: Vec<Place> = category
                    .measures
                    .iter()
                    .map(|&(dataset, metric)| Place { dataset: dataset.into(), metric: metric.into(), ..own.clone() })
                    .collect();
                if !systems.iter().any(|system| system.numbers.contains_key(&own)) {
                    continue;
                }
                if datasets {
                    for measure in &measures {
                        let one = [vec![measure.clone()]];
                        comparison.row(systems, measure, &one, published, seed);
                    }
                }
                comparison.row(systems, &own, &[measures], published, seed);
            }
            let average = Place { length, category: AVERAGE.into(), dataset: String::new(), metric: String::new() };
            let measures = CATEGORIES.iter().map(|category| {
                let place = |&(dataset, metric): &(&str, &str)| Place {
                    length,
                    category: category.name.into(),
                    dataset: dataset.into(),
                    metric: metric.into(),
                };
                category.measures.iter().map(place).collect()
            });
            comparison.row(systems, &average, &measures.collect::<Vec<_>>(), published, seed);
        }
        comparison.gather_notes(systems);
        comparison
    }

    /// Adds the row of a mean over measures.
    fn row(
        &mut self,
        systems: &[System],
        place: &Place,
        measures: &[Vec<Place>],
        published: Option<&Published>,
        seed: u64,
    ) {
        let cells = systems.iter().enumerate().map(|(index, system)| {
            let difference =
                if index == 0 { None } else { self.difference(&systems[0], system, place, measures, seed) };
            Cell { number: system.numbers.get(place).copied(), difference }
        });
        let cells: Vec<Cell> = cells.collect();
        let beside = published.and_then(|published| {
            let number = published.number(place, measures)?;
            let noted = |what: &str| {
                measures.iter().flatten().any(|measure| systems.iter().any(|system| is_noted(system, measure, what)))
            };
            Some(if noted("own wording") {
                Beside::OwnWording
            } else if noted("generated records") {
                Beside::GeneratedRecords
            } else {
                Beside::Number(number)
            })
        });
        self.rows.push(Row { place: place.clone(), cells, published: beside });
    }

    /// The difference of two systems over the measures that both have, where these are the same ones.
    fn difference(
        &mut self,
        first: &System,
        second: &System,
        place: &Place,
        measures: &[Vec<Place>],
        seed: u64,
    ) -> Option<Interval> {
        first.numbers.get(place)?;
        second.numbers.get(place)?;
        let of = |system: &System| -> Vec<Vec<(Place, String)>> {
            let has = |measure: &&Place| system.numbers.contains_key(measure);
            let named = |measure: &Place| (measure.clone(), format!("{} {}", measure.dataset, measure.metric));
            measures.iter().map(|group| group.iter().filter(has).map(named).collect()).collect()
        };
        let (here, there) = (of(first), of(second));
        if here != there {
            return None;
        }
        let mut categories: Vec<Vec<Vec<Observation<'_>>>> = Vec::new();
        for group in &here {
            let (left, right) = (first.examples(group), second.examples(group));
            match differences(&left, &right) {
                Ok(groups) => categories.push(groups.into_values().collect()),
                Err(error) => {
                    let said = format!("{} and {}: {error}", first.label, second.label);
                    if !self.unpaired.contains(&said) {
                        self.unpaired.push(said);
                    }
                    return None;
                }
            }
        }
        let categories: Vec<Vec<&[Observation<'_>]>> =
            categories.iter().map(|groups| groups.iter().map(Vec::as_slice).collect()).collect();
        let name = format!("difference {} {} {}", place.length, place.category, place.dataset);
        Bootstrap { resamples: RESAMPLES, seed, name: &name }.mean_of_categories(&categories)
    }

    fn gather_notes(&mut self, systems: &[System]) {
        for system in systems {
            for note in &system.notes {
                match self.notes.iter_mut().find(|(known, _)| known == note) {
                    Some((_, labels)) => labels.push(system.label.clone()),
                    None => self.notes.push((note.clone(), vec![system.label.clone()])),
                }
            }
        }
        self.notes.sort_by_key(|(note, _)| note.length);
    }

    /// Whether any number is a mean over a part of what HELMET averages.
    pub fn is_partial(&self) -> bool {
        let partial = |cell: &Cell| cell.number.is_some_and(|number| !number.whole);
        self.rows.iter().any(|row| row.cells.iter().any(partial))
    }
}

/// Whether a note on a measure's dataset begins so.
fn is_noted(system: &System, measure: &Place, what: &str) -> bool {
    let about = |note: &Note| note.dataset == measure.dataset && note.length == measure.length;
    system.notes.iter().any(|note| about(note) && note.note.starts_with(what))
}
