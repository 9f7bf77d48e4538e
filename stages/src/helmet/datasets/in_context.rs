//! Many-shot in-context learning, as HELMET sets it up: every test row has its own balanced demonstrations and
//! its own numbering of the labels.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::contract::StageResult;
use crate::helmet::data::DataFolder;
use crate::helmet::dataset::{Answered, Dataset, Example, Records, Request, Scored};
use crate::helmet::golds::GoldForm;
use crate::helmet::lengths::LENGTHS;
use crate::helmet::random::{PythonRandom, permutation, text_seed};
use crate::helmet::score::parsed_only;
use crate::helmet::template::Fields;

/// A text and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    pub text: String,
    /// Index into the class names.
    pub class: usize,
}

/// The rows of a set, in file order.
pub struct Rows {
    pub classes: usize,
    pub train: Vec<Labelled>,
    pub test: Vec<Labelled>,
}

/// One many-shot set.
pub struct InContext {
    pub(super) name: &'static str,
    pub(super) files: &'static [&'static str],
    /// Demonstrations at 8K, 16K, 32K, 64K and 128K tokens.
    pub(super) shots: [usize; 5],
    pub(super) read: fn(&DataFolder, u64) -> StageResult<Rows>,
}

/// Demonstrations at a length: those of the longest benchmark length up to it, scaled with the length; below
/// the shortest, its number scaled down. At least one.
pub fn shots(table: [usize; 5], length: usize) -> usize {
    let column = LENGTHS.iter().rposition(|&known| known <= length).unwrap_or(0);
    (table[column] * length / LENGTHS[column]).max(1)
}

impl Dataset for InContext {
    fn name(&self) -> &'static str {
        self.name
    }

    fn max_new_tokens(&self) -> usize {
        20
    }

    fn samples(&self) -> usize {
        500
    }

    fn files(&self, _length: usize, _records: Records) -> StageResult<Vec<String>> {
        Ok(self.files.iter().map(|&file| file.to_owned()).collect())
    }

    fn examples(&self, request: &Request<'_>) -> StageResult<Vec<Example>> {
        let rows = (self.read)(request.data(self.name)?, request.seed)?;
        let shots = request.shots.unwrap_or_else(|| shots(self.shots, request.room.length));
        let train = Balance::new(&rows.train);
        let tests = test_rows(&rows.test, request.samples, request.seed);
        let example = |test: Labelled| {
            (request.check)()?;
            example(request, &rows, &train, shots, &test)
        };
        tests.into_par_iter().map(example).collect()
    }

    fn golds(&self) -> GoldForm {
        GoldForm::Answers(&["label"])
    }

    fn score(&self, answered: Answered<'_>) -> Scored {
        Ok(parsed_only(answered, "label:"))
    }
}

/// The test rows that are asked: all in file order when there are no more than wanted, else a balanced choice
/// of the shuffled rows.
fn test_rows(rows: &[Labelled], wanted: usize, seed: u64) -> Vec<Labelled> {
    if rows.len() <= wanted {
        return rows.to_vec();
    }
    let shuffled: Vec<Labelled> = permutation(seed, rows.len()).into_iter().map(|place| rows[place].clone()).collect();
    let chosen = Balance::new(&shuffled).choose(wanted, seed);
    chosen.into_iter().map(|place| shuffled[place].clone()).collect()
}

fn example(request: &Request<'_>, rows: &Rows, train: &Balance, shots: usize, test: &Labelled) -> StageResult<Example> {
    let seed = text_seed(&test.text, request.seed);
    let chosen = train.choose(shots, seed);
    let mut shown: Vec<usize> = (0..rows.classes).collect();
    PythonRandom::new(seed).shuffle(&mut shown);
    let demo = |&place: &usize| {
        let row = &rows.train[place];
        let fields = Fields::from([("text", row.text.clone()), ("label", shown[row.class].to_string())]);
        request.template.render("demo", &fields)
    };
    let demos = chosen.iter().map(demo).collect::<StageResult<Vec<_>>>()?;
    let context = demos.join(request.template.part("demo_separator")?);
    Ok(Example {
        fields: Fields::from([("context", context), ("question", test.text.clone())]),
        answers: vec![shown[test.class].to_string()],
        cluster: test.text.clone(),
        ..Example::default()
    })
}

/// Rows grouped by class, in order of the classes' first appearance.
struct Balance {
    groups: Vec<Vec<usize>>,
}

impl Balance {
    fn new(rows: &[Labelled]) -> Self {
        let mut places: BTreeMap<usize, usize> = BTreeMap::new();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (row, labelled) in rows.iter().enumerate() {
            let group = *places.entry(labelled.class).or_insert(groups.len());
            if group == groups.len() {
                groups.push(Vec::new());
            }
            groups[group].push(row);
        }
        Self { groups }
    }

    /// `count` rows, as even over the classes as can be: rounds of one row per class, each round shuffled.
    fn choose(&self, count: usize, seed: u64) -> Vec<usize> {
        if self.groups.is_empty() {
            return Vec::new();
        }
        let mut random = PythonRandom::new(seed);
        let rounds = count.div_ceil(self.groups.len());
        let mut draw = |group: &Vec<usize>| {
            let mut places = random.sample(group.len(), rounds % group.len());
            while places.len() < rounds {
                places.extend(random.sample(group.len(), (rounds - places.len()).min(group.len())));
            }
            places.into_iter().map(|place| group[place]).collect()
        };
        let drawn: Vec<Vec<usize>> = self.groups.iter().map(&mut draw).collect();
        let mut chosen = Vec::with_capacity(rounds * self.groups.len());
        for round in 0..rounds {
            let mut rows: Vec<usize> = drawn.iter().map(|group| group[round]).collect();
            random.shuffle(&mut rows);
            chosen.extend(rows);
        }
        chosen.truncate(count);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn demonstrations_scale_with_the_length() {
        let table = [400, 800, 1600, 3300, 6600];
        let lengths = [1_024, 4_096, 8_192, 12_288, 65_536, 131_072, 262_144];
        assert_eq!(lengths.map(|length| shots(table, length)), [50, 200, 400, 600, 3_300, 6_600, 13_200]);
        assert_eq!(shots(table, 2), 1);
    }

    fn rows(classes: &[usize]) -> Vec<Labelled> {
        classes.iter().map(|&class| Labelled { text: class.to_string(), class }).collect()
    }

    #[test]
    fn small_test_sets_stay_in_file_order_and_large_ones_are_balanced() {
        let few = rows(&[1, 0, 1]);
        assert_eq!(test_rows(&few, 3, 42), few);
        let many = rows(&[[0; 30], [1; 30], [2; 30]].concat());
        let chosen = test_rows(&many, 9, 42);
        for class in 0..3 {
            assert_eq!(chosen.iter().filter(|row| row.class == class).count(), 3);
        }
    }

    proptest! {
        #[test]
        fn a_choice_is_even_over_the_classes_present(
            classes in prop::collection::vec(0usize..6, 1..60), count in 1usize..120, seed: u64,
        ) {
            let rows = rows(&classes);
            let chosen = Balance::new(&rows).choose(count, seed);
            prop_assert_eq!(chosen.len(), count);
            let mut counts: BTreeMap<usize, usize> = classes.iter().map(|&class| (class, 0)).collect();
            chosen.iter().for_each(|&row| *counts.get_mut(&rows[row].class).unwrap() += 1);
            let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
            prop_assert!(most - least <= 1, "{counts:?}");
        }
    }
}
