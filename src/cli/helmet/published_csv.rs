//! Published numbers as tables: HELMET's authors give a row per model and a column per category, all at one length; a
//! table of single numbers has the columns `model`, `measure`, `length` and `score`.

use std::collections::BTreeMap;
use std::path::Path;

use retmask_stages::helmet::category::CATEGORIES;
use retmask_stages::records::csv::{COMMAS, Record, records};

use super::published::Published;
use crate::error::{Error, Result};
use crate::pipeline::suggest;

const SINGLE: [&str; 4] = ["model", "measure", "length", "score"];

/// Reads the numbers of a model from a table's text. The length of a table of categories is `length`, else what the
/// file's name says (`agg_results_128k.csv`).
///
/// # Errors
/// `Input` with the line that is malformed, or when there is no such model or length.
pub fn read(path: &Path, text: &str, model: Option<&str>, length: Option<u32>) -> Result<Published> {
    let refuse = |line: usize, why: String| Error::input(format!("{}, line {line}: {why}", path.display()));
    let mut rows = records(text, COMMAS).map_err(|(line, why)| refuse(line, why))?.into_iter();
    let header = rows.next().ok_or_else(|| refuse(1, "the table is empty".into()))?.fields;
    let rows: Vec<Record> = rows.collect();
    if let Some(row) = rows.iter().find(|row| row.fields.len() != header.len()) {
        return Err(refuse(row.line, format!("{} fields; the header has {}", row.fields.len(), header.len())));
    }
    let column = |name: &str| header.iter().position(|field| field.eq_ignore_ascii_case(name));
    let models = column("model").ok_or_else(|| refuse(1, "the header has no column `Model`".into()))?;
    let model = chosen(path, rows.iter().map(|row| row.fields[models].as_str()), model)?;
    let of_model = rows.iter().filter(|row| row.fields[models] == model);
    let score = |row: &Record, column: usize| -> Result<f64> {
        let score = row.fields[column].trim().parse::<f64>().ok().filter(|score| (0.0..=100.0).contains(score));
        score.ok_or_else(|| refuse(row.line, format!("`{}`: a score is a number from 0 to 100", header[column])))
    };
    let mut scores = BTreeMap::new();
    let mut keep =
        |row: &Record, measure: String, length: u32, score: f64| match scores.insert((measure, length), score) {
            None => Ok(()),
            Some(_) => Err(refuse(row.line, format!("a number of `{model}` stands there twice"))),
        };
    let single: Option<Vec<usize>> = SINGLE.iter().map(|name| column(name)).collect();
    if let Some(columns) = single {
        for row in of_model {
            let length = row.fields[columns[2]].trim().parse();
            let length = length.map_err(|_| refuse(row.line, "`length` is no number of tokens".into()))?;
            keep(row, row.fields[columns[1]].clone(), length, score(row, columns[3])?)?;
        }
    } else {
        let names = CATEGORIES.iter().map(|category| category.name).chain(["Average"]);
        let categories: Vec<(usize, &str)> = names.filter_map(|name| Some((column(name)?, name))).collect();
        if categories.is_empty() {
            let why = format!("neither the columns {} nor a category of HELMET's", SINGLE.join(", "));
            return Err(refuse(1, why));
        }
        let length = length.or_else(|| length_of(path)).ok_or_else(|| {
            Error::input(format!("{}: the table does not say at which length it is", path.display()))
                .with_hint("say it: --published-length 131072")
        })?;
        for row in of_model {
            for &(column, category) in &categories {
                keep(row, category.to_owned(), length, score(row, column)?)?;
            }
        }
    }
    Ok(Published { model, scores })
}

/// The model asked for, or the only one there is.
fn chosen<'a>(path: &Path, models: impl Iterator<Item = &'a str>, wanted: Option<&str>) -> Result<String> {
    let mut names: Vec<&str> = Vec::new();
    models.for_each(|name| {
        if !names.contains(&name) {
            names.push(name)
        }
    });
    match (wanted, names.as_slice()) {
        (Some(wanted), names) if names.contains(&wanted) => Ok(wanted.to_owned()),
        (Some(wanted), _) => Err(Error::input(format!("{}: there are no numbers of `{wanted}`", path.display()))
            .with_hint(suggest(wanted, "its models", names.iter().copied()).join("; "))),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => Err(Error::input(format!("{}: name the model with --published-model", path.display()))
            .with_hint(format!("its models: {}", names.join(", ")))),
    }
}

/// The tokens that `…_128k…` in a file's name means.
fn length_of(path: &Path) -> Option<u32> {
    let stem = path.file_stem()?.to_str()?.to_lowercase();
    let thousands = stem.split('_').find_map(|part| part.strip_suffix('k')?.parse::<u32>().ok())?;
    thousands.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(
        name: &str,
        text: &str,
        model: Option<&str>,
        length: Option<u32>,
    ) -> std::result::Result<Vec<(String, u32, f64)>, String> {
        let read = read(Path::new(name), text, model, length).map_err(|error| format!("{error:?}"))?;
        Ok(read.scores.into_iter().map(|((measure, length), score)| (measure, length, score)).collect())
    }

    #[test]
    fn both_tables_give_their_numbers() {
        let categories = "Model,Size,Recall,RAG,Average\nA,8,50.5,7,30\nB,?,1,2,3\n";
        let found = numbers("agg_results_128k.csv", categories, Some("A"), None).unwrap();
        let row = |measure: &str, length, score| (measure.to_owned(), length, score);
        assert_eq!(found, [row("Average", 131_072, 30.0), row("RAG", 131_072, 7.0), row("Recall", 131_072, 50.5)]);
        let single = "model,measure,length,score\nA,json_kv,8192,99\nA,kilt_nq,8192,12.5\n";
        let found = numbers("x.csv", single, None, None).unwrap();
        assert_eq!(found, [row("json_kv", 8_192, 99.0), row("kilt_nq", 8_192, 12.5)]);
    }

    #[test]
    fn faults_say_where_they_are() {
        let fault = |text, model, length| numbers("x.csv", text, model, length).unwrap_err();
        assert!(fault("Model,Recall\nA,50\n", None, None).contains("does not say at which length"));
        assert!(fault("Model,Recall\nA,150\n", None, Some(8_192)).contains("x.csv, line 2: `Recall`: a score is"));
        assert!(fault("Model,Recall\nA,1\nB,2\n", None, Some(8_192)).contains("--published-model"));
        assert!(
            fault("Model,Recall\nA,1\nA,2\n", None, Some(8_192)).contains("line 3: a number of `A` stands there twice")
        );
        assert!(fault("Model,Recall\nA\n", None, None).contains("line 2: 1 fields; the header has 2"));
        assert!(fault("Name\nA\n", None, None).contains("no column `Model`"));
        assert!(fault("Model,Speed\nA,1\n", None, None).contains("neither the columns model, measure"));
    }
}
