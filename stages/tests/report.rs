//! Kind `report` on generated inputs: what the page and the summary say, and what they refuse.

mod report_sample;

use arrow::array::{Array, AsArray};
use report_sample::{Numbers, Sample, Written, counts, flags, numbers, texts};
use retmask_stages::artifact::{Media, table};
use retmask_stages::contract::{Fault, Kind};
use retmask_stages::report::{Parameters, Report, terminal_table};

/// The headings of the page's sections.
const SECTIONS: [&str; 5] = ["Retrieval scores", "Needle recall", "Training", "Evaluation", "Preference pairs"];

fn sections(page: &str) -> Vec<&'static str> {
    SECTIONS.into_iter().filter(|name| page.contains(&format!("<h2>{name}</h2>"))).collect()
}

fn value(written: &Written, section: &str, item: &str) -> String {
    let column = |name: &str| written.summary.column_by_name(name).expect("a column").as_string::<i32>().clone();
    let (sections, items, values) = (column("section"), column("item"), column("value"));
    let row = (0..sections.len()).find(|&row| (sections.value(row), items.value(row)) == (section, item));
    row.map_or_else(|| panic!("no `{item}` in {section}"), |row| values.value(row).to_owned())
}

/// The element that holds a text: from its opening bracket to its end.
fn row_of<'a>(page: &'a str, name: &str) -> &'a str {
    let start = page.find(name).unwrap_or_else(|| panic!("no row {name}"));
    &page[start..start + page[start..].find("</tr>").expect("the end of the row")]
}

#[test]
fn the_full_page_has_every_section_and_the_numbers_of_its_inputs() {
    let written = Sample::full().run().expect("a report");
    assert_eq!(sections(&written.page), SECTIONS);
    assert_eq!(value(&written, "heads", "trials counted"), "22 of 45");
    assert_eq!(value(&written, "heads", "best head"), "18-6 (score 0.710)");
    assert_eq!(value(&written, "heads", "Gini of scores"), "0.912");
    assert_eq!(value(&written, "heads", "heads masked"), "12 of 270 (4.4 %)");
    assert_eq!(value(&written, "heads", "lowest masked score"), "0.110");
    assert_eq!(value(&written, "pairs", "pairs kept"), "4");
    assert!(value(&written, "DPO", "loss, first and last step").starts_with("0.6931 -> "));
    for figure in ["22 of 45", "18-6", "12 of 270", "0.912", "layer 18, head 6: 0.710, masked", "layer 0, head 1: "] {
        assert!(written.page.contains(figure), "{figure}");
    }
    // 270 cells, 12 frames and one in the legend.
    assert_eq!(written.page.matches("<title>layer ").count(), 270);
    assert_eq!(written.page.matches("class=\"masked\"").count(), 13);
}

#[test]
fn heads_before_and_after_training_stand_side_by_side() {
    let heads = [(0, 0), (0, 1), (1, 0), (1, 1)];
    let sample = |after: &[f64], heads_after: &[(u32, u32)]| {
        let mut sample = Sample::empty();
        sample.head_scores(&heads, &[0.1, 0.4, 0.0, 0.3]);
        sample.mask(&[(0, 1), (1, 1)]);
        sample.head_scores_at("trained-scores", heads_after, after);
        for (port, gini) in [("head-summary", 0.5), ("trained-head-summary", 0.25)] {
            let columns =
                [10, 9, 4, 1].map(|count| counts([count])).into_iter().chain([numbers([0.4]), numbers([gini])]);
            sample.table(port, "", Media::HeadScoreSummary, columns.collect());
        }
        sample.run()
    };
    let written = sample(&[0.1, 0.5, 0.0, 0.1], &heads).expect("a report");
    assert_eq!(value(&written, "heads", "Gini of scores, trained"), "0.500 -> 0.250");
    assert_eq!(value(&written, "heads", "mean score of masked heads, trained"), "0.3500 -> 0.3000");
    assert_eq!(value(&written, "heads", "mean score of other heads, trained"), "0.0500 -> 0.0500");
    assert_eq!(value(&written, "heads", "most changed head, trained"), "1-1 (0.300 -> 0.100)");
    for figure in ["<h2>Heads after training</h2>", "2 of 4 heads have another score", "head 1-1: 0.300 \u{2192} 0.100"]
    {
        assert!(written.page.contains(figure), "{figure}");
    }
    let other = sample(&[0.1, 0.5], &heads[..2]).err().expect("another model");
    assert_eq!(other.fault, Fault::Input);
    assert_eq!(other.message, "port `trained-scores` has 1 layers of 2 heads, port `scores` 2 of 2");
    let mut alone = Sample::empty();
    alone.head_scores_at("trained-scores", &heads, &[0.1; 4]);
    let error = alone.run().err().expect("nothing to compare with");
    assert!(error.message.contains("port `trained-scores` is given without port `scores`"), "{}", error.message);
}

#[test]
fn the_same_inputs_give_the_same_bytes_in_any_order_of_heads() {
    let first = Sample::full().run().expect("a report");
    let again = Sample::full().run().expect("a report");
    assert_eq!(first.page, again.page);
    assert_eq!(first.summary, again.summary);

    let heads = [(0, 0), (0, 1), (1, 0), (1, 1)];
    let scores = [0.1, 0.4, 0.2, 0.3];
    let pages: Vec<String> = [[0, 1, 2, 3], [3, 1, 0, 2]]
        .iter()
        .map(|order| {
            let mut sample = Sample::empty();
            sample.head_scores(&order.map(|row: usize| heads[row]), &order.map(|row| scores[row]));
            sample.run().expect("a report").page
        })
        .collect();
    assert_eq!(pages[0], pages[1]);
}

/// A section and what fills it.
type Part = (&'static str, fn(&mut Sample));

#[test]
fn an_absent_input_leaves_its_section_out() {
    let nothing = Sample::empty().run().expect("a report");
    assert_eq!(sections(&nothing.page), Vec::<&str>::new());
    assert_eq!(nothing.summary.num_rows(), 0);

    let parts: [Part; 4] = [
        ("Retrieval scores", Sample::scores),
        ("Needle recall", Sample::needle_trials),
        ("Evaluation", |sample| sample.evaluated("base", 0.0)),
        ("Training", |sample| sample.margins(&[0.2, -0.1], 1)),
    ];
    for (section, fill) in parts {
        let mut sample = Sample::empty();
        fill(&mut sample);
        let written = sample.run().expect("a report");
        assert_eq!(sections(&written.page), [section]);
        assert!(written.summary.num_rows() > 0);
    }
}

#[test]
fn the_page_refers_to_nothing_outside_itself() {
    let page = Sample::full().run().expect("a report").page;
    for reference in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link", "<iframe"] {
        assert!(!page.contains(reference), "{reference}");
    }
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
}

#[test]
fn hostile_text_stays_text() {
    let attack = "</p></title><script>alert(1)</script><img src=x onerror=\"alert(2)\">' & \u{202e}";
    let mut sample = Sample::empty();
    sample.parameters.title = attack.into();
    sample.parameters.baseline = attack.into();
    sample.pairs(&[(vec![(attack, attack)], attack, "something else")]);
    let other = format!("{attack} trained");
    for label in [attack, other.as_str()] {
        sample.evaluation(label, &[(attack, attack, attack, vec![0.0, 1.0, 1.0])]);
    }
    let written = sample.run().expect("a report");
    for tag in ["<script", "<img", "</p></title>", "onerror=\""] {
        assert!(!written.page.contains(tag), "{tag}");
    }
    assert!(written.page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert_eq!(written.page.matches("<title>").count(), written.page.matches("</title>").count());
    assert!(!terminal_table(&written.summary, 80).contains('\u{1b}'));
}

#[test]
fn pairs_are_cut_and_their_first_differing_words_marked() {
    let long = "same words ".repeat(30);
    let mut sample = Sample::empty();
    sample.parameters.characters = 60;
    sample.pairs(&[
        (vec![("user", "ask")], "The same start and a true end", "The same start and an untrue end"),
        (vec![("user", &long)], &long, "short"),
    ]);
    let page = sample.run().expect("a report").page;
    assert!(page.contains("The same start and <mark>a true end</mark>"), "{page}");
    assert!(page.contains("The same start and <mark>an untrue end</mark>"));
    // 330 characters, 60 of them shown, in the prompt and in the chosen response.
    assert_eq!(page.matches("\u{2026} 270 more characters").count(), 2);

    sample.parameters.pairs = 1;
    assert_eq!(sample.run().expect("a report").page.matches("<article").count(), 1);
}

#[test]
fn a_difference_is_marked_only_when_its_interval_leaves_out_zero() {
    let mut random = Numbers(9);
    let coin: Vec<f64> = (0..40).map(|_| f64::from(u8::from(random.share() < 0.5))).collect();
    let flipped: Vec<f64> =
        coin.iter().enumerate().map(|(row, value)| if row < 4 { 1.0 - value } else { *value }).collect();
    let mut sample = Sample::empty();
    sample.evaluation("base", &[("A", "better", "exact_match", vec![0.0; 40]), ("B", "unclear", "exact_match", coin)]);
    sample.evaluation(
        "trained",
        &[("A", "better", "exact_match", vec![0.5; 40]), ("B", "unclear", "exact_match", flipped)],
    );
    let written = sample.run().expect("a report");
    assert!(row_of(&written.page, "<th scope=\"row\">better").contains('\u{25b2}'));
    let unclear = row_of(&written.page, "<th scope=\"row\">unclear");
    assert!(!unclear.contains('\u{25b2}') && !unclear.contains('\u{25bc}'), "{unclear}");

    // Every example of `better` gained exactly 0.5, so its paired interval has no width.
    assert!(row_of(&written.page, "<th scope=\"row\">better").contains("[50.0, 50.0]"));
    // Two categories of one dataset each: the average is the mean of both.
    let average = value(&written, "evaluation", "average 1024");
    let (base, trained) = average.split_once(" | ").expect("two labels");
    let (base, trained): (f64, f64) = (base.parse().expect("a number"), trained.parse().expect("a number"));
    let change = value(&written, "evaluation", "trained - base, average");
    let change: f64 = change.split(' ').next().expect("a word").parse().expect("a number");
    // Each is rounded to one decimal.
    assert!((trained - base - change).abs() < 0.11, "{average} {change}");
}

#[test]
fn without_examples_nothing_is_compared() {
    let mut sample = Sample::empty();
    for label in ["base", "trained"] {
        sample.score_summary(label, &[("A", "set", "exact_match", vec![0.0, 1.0])]);
    }
    let written = sample.run().expect("a report");
    assert!(written.page.contains("Without the scores of every example there are no paired differences."));
    assert!(!written.page.contains('\u{25b2}'));
}

#[test]
fn notes_stand_in_the_rows_they_are_about() {
    let notes = |sample: &mut Sample, label: &str, notes: [&str; 2]| {
        let columns = vec![
            texts(["A", "A"]),
            texts(["set", "missing"]),
            counts([1024, 1024]),
            texts(["", "gpt-4-score"]),
            texts(notes),
        ];
        sample.table("notes", label, Media::ScoreNotes, columns);
    };
    let mut sample = Sample::empty();
    for label in ["base", "trained"] {
        sample.score_summary(label, &[("A", "set", "exact_match", vec![0.0, 1.0])]);
    }
    assert!(!sample.run().expect("a report").page.contains("notes</th>"));
    notes(&mut sample, "base", ["own wording", "not scored: needs a judge"]);
    notes(&mut sample, "trained", ["own <b>wording", "not scored: needs a judge"]);
    let page = sample.run().expect("a report").page;
    assert!(page.contains("notes</th>"));
    assert!(row_of(&page, "<th scope=\"row\">set").contains("own &lt;b&gt;wording (trained); own wording (base)"));
    let category = row_of(&page, "<th scope=\"row\">A");
    assert!(category.contains("missing: gpt-4-score: not scored: needs a judge<"), "{category}");
    notes(&mut sample, "other", ["x", "y"]);
    let refused = sample.run().err().expect("a refusal").message;
    assert_eq!(refused, "port `notes`: label `other` is not at port `evaluation`");
}

#[test]
fn a_mean_over_fewer_datasets_than_helmets_says_so() {
    let page = |whole: bool| {
        let mut sample = Sample::empty();
        let columns = vec![
            texts(["A", "A"]),
            texts(["set", ""]),
            counts([8, 8]),
            texts(["exact_match", "mean"]),
            flags([true, whole]),
            numbers([50.0, 50.0]),
            numbers([40.0, 45.0]),
            numbers([60.0, 55.0]),
            counts([2, 2]),
        ];
        sample.table("evaluation", "base", Media::ScoreSummary, columns);
        sample.run().expect("a report").page
    };
    let note = "Fewer datasets were evaluated than HELMET averages";
    assert!(page(false).contains(note) && !page(true).contains(note));
    // The category shows its own row's interval.
    assert!(page(true).contains("[45.0, 55.0]"));
}

#[test]
fn a_mask_that_is_no_threshold_has_no_threshold_line() {
    let heads = [(0, 0), (0, 1), (1, 0), (1, 1)];
    let page = |mask: &[(u32, u32)]| {
        let mut sample = Sample::empty();
        sample.head_scores(&heads, &[0.9, 0.5, 0.0, 0.1]);
        sample.mask(mask);
        sample.run().expect("a report").page
    };
    assert!(page(&[(0, 0), (0, 1)]).contains("2 heads masked, score \u{2265} 0.500"));
    let random = page(&[(0, 0), (1, 0)]);
    assert!(!random.contains("heads masked, score") && random.contains("The mask is not a threshold on these scores."));
}

#[test]
fn the_terminal_table_is_that_of_the_summary() {
    let mut sample = Sample::empty();
    sample.head_scores(&[(0, 0), (0, 1)], &[0.25, 0.5]);
    sample.mask(&[(0, 1)]);
    sample.margins(&[0.2, -0.1, 0.3], 2);
    sample.score_summary("base", &[("A", "set", "exact_match", vec![0.0, 1.0])]);
    let expected = "\
heads       best head                0-1 (score 0.500)
            heads masked             1 of 2 (50.0 %)
            lowest masked score      0.500

DPO         held-out margin          0 -> +0.0500 (mean of 2 pairs)
            held-out accuracy        0 -> 50 % (margin above 0)
            held-out chosen likelier 50 % -> 50 % of pairs
            train margin             0 -> +0.3000 (mean of 1 pairs)
            train accuracy           0 -> 100 % (margin above 0)
            train chosen likelier    100 % -> 100 % of pairs

evaluation  0 to 100                 base
            set 1024 (exact_match)   50.0
            average 1024             50.0
";
    let squeezed =
        |text: &str| text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    let table = terminal_table(&sample.run().expect("a report").summary, 100);
    assert_eq!(squeezed(&table), squeezed(expected));
}

/// Makes a sample wrong; the error must name the port and say the words.
type Wrong = (&'static str, &'static [&'static str], fn(&mut Sample));

const WRONG: &[Wrong] = &[
    ("a head twice", &["port `scores`", "row 1", "head 0-0 stands there twice"], |sample| {
        sample.head_scores(&[(0, 0), (0, 0), (0, 1), (1, 1)], &[0.1; 4])
    }),
    ("a head missing", &["port `scores`", "3 rows do not fill 2 layers of 2 heads"], |sample| {
        sample.head_scores(&[(0, 0), (0, 1), (1, 1)], &[0.1; 3])
    }),
    ("a head far away", &["port `scores`", "do not fill"], |sample| {
        sample.head_scores(&[(u32::MAX, u32::MAX)], &[0.1])
    }),
    ("a score that is no number", &["port `scores`", "row 0, column `score`", "NaN"], |sample| {
        sample.head_scores(&[(0, 0)], &[f64::NAN])
    }),
    ("a negative score", &["port `scores`", "-0.5"], |sample| sample.head_scores(&[(0, 0)], &[-0.5])),
    ("no heads", &["port `scores`", "no heads"], |sample| sample.head_scores(&[], &[])),
    ("an empty mask", &["port `mask`", "empty"], |sample| sample.mask(&[])),
    ("a mask of another model", &["port `mask`", "head 7-0", "port `scores`"], |sample| {
        sample.head_scores(&[(0, 0)], &[0.1]);
        sample.mask(&[(7, 0)]);
    }),
    ("a recall above 1", &["port `trials`", "rouge1_recall", "1.5"], |sample| {
        sample.trials("trials", &[(1, 500, 0, 1.5)])
    }),
    ("a depth above 100", &["port `trials`", "depth", "101"], |sample| sample.trials("trials", &[(1, 500, 101, 1.0)])),
    ("a trial twice", &["port `trials`", "row 1", "twice"], |sample| {
        sample.trials("trials", &[(1, 500, 0, 1.0), (1, 500, 0, 0.0)])
    }),
    ("masked trials alone", &["port `masked-trials`", "without port `trials`"], |sample| {
        sample.trials("masked-trials", &[(1, 500, 0, 1.0)])
    }),
    ("trials at other places", &["base trials", "masked trials", "not of the same"], |sample| {
        sample.trials("trials", &[(1, 500, 0, 1.0)]);
        sample.trials("masked-trials", &[(1, 500, 50, 1.0)]);
    }),
    ("no pairs", &["port `pairs`", "no pairs"], |sample| sample.pairs(&[])),
    ("no margins", &["port `margins`", "no pairs"], |sample| sample.margins(&[], 0)),
    ("the baseline is missing", &["port `evaluation`", "`base`", "`trained`"], |sample| {
        sample.evaluated("trained", 0.0)
    }),
    ("examples of no label", &["port `examples`", "`other`", "port `evaluation`"], |sample| {
        sample.evaluated("base", 0.0);
        sample.example_scores("other", &[("A", "set", "exact_match", vec![1.0])]);
    }),
    ("examples of another model", &["port `examples`, label `base`", "mean 100.0000", "50.0000"], |sample| {
        sample.score_summary("base", &[("A", "set", "exact_match", vec![0.0, 1.0])]);
        sample.example_scores("base", &[("A", "set", "exact_match", vec![1.0, 1.0])]);
    }),
    ("fewer examples on one side", &["port `examples`", "`base` and `trained`", "one system only"], |sample| {
        sample.evaluation("base", &[("A", "set", "exact_match", vec![0.0, 1.0])]);
        sample.evaluation("trained", &[("A", "set", "exact_match", vec![1.0])]);
    }),
    ("a score above 100", &["port `evaluation`, label `base`", "column `value`", "150"], |sample| {
        sample.score_summary("base", &[("A", "set", "exact_match", vec![1.5])]);
    }),
    ("a category that is not the mean of its datasets", &["category A", "90.0000", "50.0000"], |sample| {
        sample.table(
            "evaluation",
            "base",
            Media::ScoreSummary,
            vec![
                texts(["A", "A"]),
                texts(["set", ""]),
                counts([8, 8]),
                texts(["exact_match", "mean"]),
                flags([true, true]),
                numbers([50.0, 90.0]),
                numbers([40.0, 80.0]),
                numbers([60.0, 95.0]),
                counts([2, 2]),
            ],
        );
    }),
    ("two rows of a one-row table", &["port `head-summary`", "one row"], |sample| {
        sample.table(
            "head-summary",
            "",
            Media::HeadScoreSummary,
            vec![
                counts([1, 1]),
                counts([1, 1]),
                counts([1, 1]),
                counts([0, 0]),
                numbers([0.5, 0.5]),
                numbers([0.5, 0.5]),
            ],
        );
    }),
];

#[test]
fn wrong_contents_are_the_inputs_fault_and_named() {
    for (name, words, spoil) in WRONG {
        let mut sample = Sample::empty();
        spoil(&mut sample);
        let error = sample.run().err().unwrap_or_else(|| panic!("{name} was accepted"));
        assert_eq!(error.fault, Fault::Input, "{name}: {error}");
        for word in *words {
            assert!(error.message.contains(word), "{name}: `{word}` is not in: {error}");
        }
    }
}

#[test]
fn a_table_of_another_media_is_refused_by_its_columns() {
    let mut sample = Sample::empty();
    let path = sample.folder.path().join("mask.parquet");
    let mut other = Sample::empty();
    other.mask(&[(0, 0)]);
    std::fs::copy(&other.inputs.optional("mask").expect("a mask").path, &path).expect("a copy");
    sample.inputs.insert("scores", "", Media::HeadScores, &path);
    let error = sample.run().err().expect("a refusal");
    assert_eq!(error.fault, Fault::Input);
    assert!(error.message.contains("port `scores`") && error.message.contains("`score`"), "{error}");
    // The table itself is fine.
    assert_eq!(table::read_any(&path).expect("a table").num_rows(), 1);
}

#[test]
fn parameters_outside_their_range_name_the_field() {
    let wrong = [
        ("title", Parameters { title: " ".into(), ..Parameters::default() }),
        ("baseline", Parameters { baseline: String::new(), ..Parameters::default() }),
        ("pairs", Parameters { pairs: 101, ..Parameters::default() }),
        ("characters", Parameters { characters: 3, ..Parameters::default() }),
    ];
    for (field, parameters) in wrong {
        assert_eq!(Report::validate(&parameters).expect_err(field).field, field);
    }
    assert_eq!(Report::validate(&Parameters::default()), Ok(()));
}
