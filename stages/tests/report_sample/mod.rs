//! Inputs for a report in the shape of a small model's run: 30 layers of 9 heads, 45 trials, six datasets.
//! All numbers are generated, none is measured.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Float64Builder, ListBuilder, RecordBatch, StringArray, StringBuilder,
    StructBuilder, UInt32Array, UInt32Builder, UInt64Array,
};
use arrow::datatypes::{DataType, Field};
use retmask_stages::artifact::{Media, schema, table};
use retmask_stages::contract::{Cancel, Context, Inputs, Kind, Outputs, SilentProgress, StageResult};
use retmask_stages::report::{Parameters, Report};

/// Steele et al.'s SplitMix64: enough for sample numbers.
pub struct Numbers(pub u64);

impl Numbers {
    /// A number from 0 (included) to 1.
    pub fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A folder of input tables and the ports they stand at.
pub struct Sample {
    pub folder: tempfile::TempDir,
    pub inputs: Inputs,
    pub parameters: Parameters,
}

/// What a report wrote.
pub struct Written {
    pub page: String,
    pub page_path: PathBuf,
    pub summary: RecordBatch,
}

pub fn counts(values: impl IntoIterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(values))
}

pub fn numbers(values: impl IntoIterator<Item = f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}

pub fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub fn flags(values: impl IntoIterator<Item = bool>) -> ArrayRef {
    Arc::new(BooleanArray::from_iter(values.into_iter().map(Some)))
}

fn conversations(rows: &[Vec<(&str, &str)>]) -> ArrayRef {
    let DataType::Struct(fields) = schema::message() else { panic!("a message is a struct") };
    let builders: Vec<Box<dyn arrow::array::ArrayBuilder>> =
        vec![Box::new(StringBuilder::new()), Box::new(StringBuilder::new())];
    let turns = StructBuilder::new(fields, builders);
    let mut list = ListBuilder::new(turns).with_field(Field::new("item", schema::message(), false));
    for row in rows {
        for (role, content) in row {
            let turn = list.values();
            turn.field_builder::<StringBuilder>(0).expect("role").append_value(role);
            turn.field_builder::<StringBuilder>(1).expect("content").append_value(content);
            turn.append(true);
        }
        list.append(true);
    }
    Arc::new(list.finish())
}

fn empty_lists<B: arrow::array::ArrayBuilder>(values: B, item: DataType, rows: usize) -> ArrayRef {
    let mut list = ListBuilder::new(values).with_field(Field::new("item", item, false));
    (0..rows).for_each(|_| list.append(true));
    Arc::new(list.finish())
}

/// A pair as its parts: prompt turns, chosen, rejected.
pub type Pair<'a> = (Vec<(&'a str, &'a str)>, &'a str, &'a str);

impl Sample {
    /// No inputs at all.
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, inputs: Inputs::default(), parameters: Parameters::default() }
    }

    /// Every port filled.
    pub fn full() -> Self {
        let mut sample = Self::empty();
        sample.scores();
        sample.needle_trials();
        sample.preference();
        for (label, shift) in [("base", 0.0), ("masked", -0.45), ("trained", 0.06)] {
            sample.evaluated(label, shift);
        }
        sample
    }

    /// Writes a table and hands it to a port.
    pub fn table(&mut self, port: &str, label: &str, media: Media, columns: Vec<ArrayRef>) {
        let batch =
            RecordBatch::try_new(Arc::new(schema::of(media).expect("a table")), columns).expect("sample columns");
        let path = self.folder.path().join(format!("{port}-{}.parquet", label.len()));
        // Labels of one length would share a name; samples may use any label.
        let path =
            if path.exists() { self.folder.path().join(format!("{port}-{}-again.parquet", label.len())) } else { path };
        table::write(&path, media, &batch).expect("writing a sample");
        self.inputs.insert(port, label, media, path);
    }

    /// Scores of 30 x 9 heads, few of them high; the mask holds those of 0.1 and more.
    pub fn scores(&mut self) {
        let mut random = Numbers(1);
        let high = [
            (18, 6, 0.71),
            (17, 3, 0.69),
            (18, 7, 0.6),
            (23, 2, 0.58),
            (17, 4, 0.5),
            (20, 6, 0.45),
            (23, 7, 0.4),
            (22, 7, 0.31),
            (21, 5, 0.24),
            (21, 8, 0.19),
            (24, 4, 0.15),
            (22, 4, 0.11),
        ];
        let score = |layer: u32, head: u32, random: &mut Numbers| {
            let known = high.iter().find(|known| (known.0, known.1) == (layer, head));
            let low = random.share();
            known.map_or(if low < 0.6 { 0.0 } else { (low - 0.6) * (low - 0.6) * 0.5 }, |known| known.2)
        };
        let heads: Vec<(u32, u32)> = (0..30).flat_map(|layer| (0..9).map(move |head| (layer, head))).collect();
        let scores: Vec<f64> = heads.iter().map(|&(layer, head)| score(layer, head, &mut random)).collect();
        self.head_scores(&heads, &scores);
        self.table(
            "head-summary",
            "",
            Media::HeadScoreSummary,
            vec![
                counts([45]),
                counts([22]),
                counts([270]),
                counts([scores.iter().filter(|&&score| score == 0.0).count() as u32]),
                numbers([0.71]),
                numbers([0.912]),
            ],
        );
        let masked: Vec<(u32, u32)> = high.iter().map(|known| (known.0, known.1)).collect();
        self.mask(&masked);
    }

    pub fn head_scores(&mut self, heads: &[(u32, u32)], scores: &[f64]) {
        self.head_scores_at("scores", heads, scores);
    }

    pub fn head_scores_at(&mut self, port: &str, heads: &[(u32, u32)], scores: &[f64]) {
        let trials = empty_lists(Float64Builder::new(), DataType::Float64, heads.len());
        self.table(
            port,
            "",
            Media::HeadScores,
            vec![
                counts(heads.iter().map(|head| head.0)),
                counts(heads.iter().map(|head| head.1)),
                numbers(scores.iter().copied()),
                trials,
            ],
        );
    }

    pub fn mask(&mut self, heads: &[(u32, u32)]) {
        self.table(
            "mask",
            "",
            Media::Mask,
            vec![counts(heads.iter().map(|head| head.0)), counts(heads.iter().map(|head| head.1))],
        );
    }

    /// Three needles at three lengths and five depths, for three models.
    pub fn needle_trials(&mut self) {
        for (port, level, seed) in [("trials", 0.55, 2), ("masked-trials", 0.08, 3), ("trained-trials", 0.6, 4)] {
            let mut random = Numbers(seed);
            let mut rows = Vec::new();
            for needle in 1..=3 {
                for length in [500, 1000, 2000] {
                    for depth in [0, 25, 50, 75, 100] {
                        let centre = level + f64::from(depth) / 400.0 - f64::from(length) / 8000.0;
                        rows.push((needle, length, depth, (centre + 0.7 * (random.share() - 0.5)).clamp(0.0, 1.0)));
                    }
                }
            }
            self.trials(port, &rows);
        }
    }

    /// Trials as (needle, context length, depth, ROUGE-1 recall).
    pub fn trials(&mut self, port: &str, rows: &[(u32, u32, u32, f64)]) {
        let nothing: ArrayRef = Arc::new(UInt32Array::from(vec![None; rows.len()]));
        self.table(
            port,
            "",
            Media::Trials,
            vec![
                counts(rows.iter().map(|row| row.0)),
                counts(rows.iter().map(|row| row.1)),
                counts(rows.iter().map(|row| row.2)),
                counts(rows.iter().map(|row| row.1)),
                nothing.clone(),
                nothing,
                texts(rows.iter().map(|_| "an answer")),
                empty_lists(UInt32Builder::new(), DataType::UInt32, rows.len()),
                numbers(rows.iter().map(|row| row.3)),
                flags(rows.iter().map(|row| row.3 > 0.5)),
            ],
        );
    }

    /// Pairs, 16 training steps, margins of 16 held-out and 64 training pairs.
    pub fn preference(&mut self) {
        self.pairs(&[
            (vec![("user", "Summarise: The ferry to the island leaves the north quay at nine every morning, except on Sundays, when it leaves at ten.")],
             "The ferry leaves the north quay for the island at nine every morning, and at ten on Sundays.",
             "The ferry leaves the harbour each evening and takes visitors to the old town, where a market is held."),
            (vec![("user", "Give the telephone number in this note: call Priya about the boiler on 0161 555 0142 before Thursday.")],
             "The telephone number is 0161 555 0142.", "The telephone number is given in the note about the boiler."),
            (vec![("system", "Answer in one sentence."), ("user", "Why do leaves look green?")],
             "Leaves look green because chlorophyll absorbs red and blue light and reflects green.",
             "Leaves look green because the light of the sun is green when it comes down in the summer."),
            (vec![("user", "Write three short lines about rain.")], "Rain on the tin roof,\na kettle begins to sing,\nthe garden drinks deep.", "Rain on the tin roof,\nrain on the tin roof again,\nrain on the tin roof."),
        ]);
        let mut random = Numbers(5);
        let steps = 16_u32;
        let progress = |step: u32| f64::from(step) / f64::from(steps);
        let noise: Vec<f64> = (0..steps).map(|_| random.share() - 0.5).collect();
        let margin: Vec<f64> = (0..steps)
            .map(|step| if step == 0 { 0.0 } else { 0.4 * progress(step) + 0.05 * noise[step as usize] })
            .collect();
        let loss: Vec<f64> = margin.iter().map(|margin| (1.0 + (-margin).exp()).ln()).collect();
        let some = |values: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(values)) };
        self.table(
            "training",
            "",
            Media::TrainingMetrics,
            vec![
                counts(0..steps),
                numbers((0..steps).map(|step| f64::from(step) / 8.0)),
                numbers(loss),
                numbers(noise.iter().map(|noise| 2.4 + noise)),
                numbers((0..steps).map(|step| 5e-6 * (1.0 - 0.9 * progress(step)))),
                Arc::new(UInt64Array::from_iter_values((0..u64::from(steps)).map(|step| step * 900))),
                some(margin.clone()),
                some(margin.iter().map(|margin| (0.5 + margin).min(1.0)).collect()),
                some(margin.iter().map(|margin| -80.0 + margin).collect()),
                some(margin.iter().map(|margin| -120.0 - margin).collect()),
            ],
        );
        let margins: Vec<f64> = (0..80).map(|_| 0.3 + 0.9 * (random.share() - 0.5)).collect();
        self.margins(&margins, 16);
    }

    pub fn pairs(&mut self, pairs: &[Pair<'_>]) {
        let answer = |text| vec![("assistant", text)];
        let words = |text: &str| text.split_whitespace().count() as u32;
        self.table(
            "pairs",
            "",
            Media::Pairs,
            vec![
                texts((0..pairs.len()).map(|row| format!("row-{row}"))),
                conversations(&pairs.iter().map(|pair| pair.0.clone()).collect::<Vec<_>>()),
                conversations(&pairs.iter().map(|pair| answer(pair.1)).collect::<Vec<_>>()),
                conversations(&pairs.iter().map(|pair| answer(pair.2)).collect::<Vec<_>>()),
                counts(pairs.iter().map(|_| 0)),
                texts(pairs.iter().map(|_| "end of turn")),
                texts(pairs.iter().map(|_| "token limit")),
                counts(pairs.iter().map(|_| 12)),
                counts(pairs.iter().map(|pair| words(pair.1))),
                counts(pairs.iter().map(|pair| words(pair.2))),
            ],
        );
    }

    /// Margins, the first `held_out` of them held out.
    pub fn margins(&mut self, margins: &[f64], held_out: usize) {
        let rows = margins.len();
        self.table(
            "margins",
            "",
            Media::PairMargins,
            vec![
                texts((0..rows).map(|row| format!("row-{row}"))),
                counts((0..rows).map(|_| 0)),
                texts((0..rows).map(|row| if row < held_out { "held-out" } else { "train" })),
                numbers((0..rows).map(|_| -80.0)),
                numbers((0..rows).map(|row| if row % 4 == 0 { -70.0 } else { -120.0 })),
                numbers(margins.iter().map(|margin| -80.0 + 5.0 * margin)),
                numbers(
                    margins
                        .iter()
                        .enumerate()
                        .map(|(row, margin)| if row % 4 == 0 { -70.0 } else { -120.0 } - 5.0 * margin),
                ),
                numbers(margins.iter().copied()),
            ],
        );
    }

    /// Six datasets of 20 examples at one length; `shift` moves every model's chance of being right.
    pub fn evaluated(&mut self, label: &str, shift: f64) {
        let datasets = [
            ("Recall", "json_kv", "substring_exact_match", 0.55),
            ("Recall", "ruler_niah_mk_2", "ruler_recall", 0.5),
            ("ICL", "icl_trec_coarse", "exact_match", 0.45),
            ("ICL", "icl_trec_fine", "exact_match", 0.3),
            ("ICL", "icl_banking77", "exact_match", 0.35),
            ("ICL", "icl_clinic150", "exact_match", 0.4),
        ];
        let values: Vec<(&str, &str, &str, Vec<f64>)> = datasets
            .iter()
            .enumerate()
            .map(|(index, (category, dataset, metric, level))| {
                // The same examples are hard for every label.
                let mut random = Numbers(100 + index as u64);
                let right = |_| f64::from(u8::from(random.share() < level + shift));
                (*category, *dataset, *metric, (0..20).map(right).collect())
            })
            .collect();
        self.evaluation(label, &values);
    }

    /// Scores and examples of a label from (category, dataset, metric, a value per example), at length 1024.
    pub fn evaluation(&mut self, label: &str, datasets: &[(&str, &str, &str, Vec<f64>)]) {
        self.score_summary(label, datasets);
        self.example_scores(label, datasets);
    }

    pub fn score_summary(&mut self, label: &str, datasets: &[(&str, &str, &str, Vec<f64>)]) {
        let mean = |values: &[f64]| 100.0 * values.iter().sum::<f64>() / values.len() as f64;
        let means: Vec<f64> = datasets.iter().map(|row| mean(&row.3)).collect();
        self.table(
            "evaluation",
            label,
            Media::ScoreSummary,
            vec![
                texts(datasets.iter().map(|row| row.0)),
                texts(datasets.iter().map(|row| row.1)),
                counts(datasets.iter().map(|_| 1024)),
                texts(datasets.iter().map(|row| row.2)),
                flags(datasets.iter().map(|_| true)),
                numbers(means.iter().copied()),
                numbers(means.iter().map(|mean| (mean - 18.0).max(0.0))),
                numbers(means.iter().map(|mean| (mean + 18.0).min(100.0))),
                counts(datasets.iter().map(|row| row.3.len() as u32)),
            ],
        );
    }

    pub fn example_scores(&mut self, label: &str, datasets: &[(&str, &str, &str, Vec<f64>)]) {
        let rows: Vec<(usize, usize, f64)> = datasets
            .iter()
            .enumerate()
            .flat_map(|(dataset, row)| row.3.iter().enumerate().map(move |(example, &value)| (dataset, example, value)))
            .collect();
        self.table(
            "examples",
            label,
            Media::ExampleScores,
            vec![
                texts(rows.iter().map(|row| datasets[row.0].1)),
                counts(rows.iter().map(|_| 1024)),
                counts(rows.iter().map(|row| row.1 as u32)),
                texts(rows.iter().map(|row| format!("question {}", row.1))),
                texts(rows.iter().map(|row| datasets[row.0].2)),
                numbers(rows.iter().map(|row| row.2)),
            ],
        );
    }

    /// Runs the stage.
    pub fn run(&self) -> StageResult<Written> {
        let folder =
            tempfile::Builder::new().prefix("out").tempdir_in(self.folder.path()).expect("an output folder").keep();
        let outputs = Outputs::new(&folder);
        let context = Context::new(Arc::new(SilentProgress), Cancel::default(), &folder);
        Report::validate(&self.parameters).expect("sample parameters");
        Report::run(&self.parameters, &self.inputs, &outputs, &context)?;
        let page_path = outputs.path("page");
        let expected = schema::of(Media::ReportSummary).expect("a table");
        Ok(Written { page: read(&page_path), page_path, summary: table::read(&outputs.path("summary"), &expected)? })
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a written page")
}
