//! Sets over whole books and case files: which documents are long enough, and the first cut to a length.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::contract::StageResult;
use crate::helmet::dataset::Request;

/// What stands where a document was cut, as HELMET writes it; a template file may say otherwise.
const OMITTED: &str = " ... [the rest of the text is omitted]";

/// Every distinct document that is long enough, cut to `tokens` tokens of the request's length tokenizer, by its
/// place in `documents`; `None` for those that are not long enough. Documents that stand there several times are
/// read once.
///
/// # Errors
/// `Input` when a text cannot be tokenised.
pub fn first_cuts(
    request: &Request<'_>,
    documents: &[&str],
    long_enough: impl Fn(usize) -> bool + Sync,
    tokens: usize,
) -> StageResult<Vec<Option<String>>> {
    let omitted = request.template.optional_part("omitted").unwrap_or(OMITTED);
    let postfix = request.length_tokens.count(omitted)?;
    let mut distinct: BTreeMap<&str, usize> = BTreeMap::new();
    let places: Vec<usize> = documents
        .iter()
        .map(|document| {
            let next = distinct.len();
            *distinct.entry(document).or_insert(next)
        })
        .collect();
    let cut = |document: &&str| -> StageResult<Option<String>> {
        (request.check)()?;
        let ends = request.length_tokens.ends(document)?;
        Ok(match ends.len() {
            count if !long_enough(count) => None,
            count if count <= tokens => Some((*document).to_owned()),
            // The end of the last token kept; with less room than the postfix takes, nothing is kept.
            _ => {
                let end = tokens.checked_sub(postfix).map_or(0, |last| ends[last]);
                Some(format!("{}{omitted}", &document[..floor(document, end)]))
            }
        })
    };
    let mut texts: Vec<(&str, usize)> = distinct.into_iter().collect();
    texts.sort_by_key(|&(_, place)| place);
    let texts: Vec<&str> = texts.into_iter().map(|(text, _)| text).collect();
    let cuts: Vec<Option<String>> = texts.par_iter().map(cut).collect::<StageResult<_>>()?;
    Ok(places.into_iter().map(|place| cuts[place].clone()).collect())
}

fn floor(text: &str, place: usize) -> usize {
    (0..=place.min(text.len())).rev().find(|&place| text.is_char_boundary(place)).unwrap_or(0)
}
