//! HELMET's five lengths, and what its files hold at each.

use crate::contract::{StageError, StageResult};

/// The lengths the benchmark is run at, in tokens.
pub const LENGTHS: [usize; 5] = [8_192, 16_384, 32_768, 65_536, 131_072];

/// What a set whose files hold a fixed number of items (passages, pairs) takes at some length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Items {
    /// Items in each row of the file to read.
    pub in_file: usize,
    /// Items to show, at most those of the file.
    pub shown: usize,
}

/// The file and the number of items at a length. Between HELMET's lengths the number is that of the length below,
/// scaled, and below the shortest it is the shortest's, scaled; the file is the smallest that holds so many.
///
/// # Errors
/// `Input` when no file holds so many.
pub fn items(table: [usize; 5], length: usize) -> StageResult<Items> {
    let column = LENGTHS.iter().rposition(|&known| known <= length).unwrap_or(0);
    let shown = (table[column] * length / LENGTHS[column]).max(1);
    let in_file = table.into_iter().find(|&held| held >= shown).ok_or_else(|| {
        let most = table[table.len() - 1];
        StageError::input(format!(
            "`length: {length}` takes {shown} items a row, but HELMET's files hold at most {most}"
        ))
        .with_hint(format!("HELMET's longest length is {}", LENGTHS[LENGTHS.len() - 1]))
    })?;
    Ok(Items { in_file, shown })
}

/// A number of demonstrations that HELMET keeps the same at all its lengths, scaled down below them; at least one.
pub fn demonstrations(count: usize, length: usize) -> usize {
    (count * length / LENGTHS[0]).clamp(1, count)
}

/// Which of `count` items to show when only `shown` are wanted: all that `kept` names, the others thinned out
/// evenly, all in their order. So what a question is about stays, at about the same relative place.
pub fn thinned(count: usize, shown: usize, kept: impl Fn(usize) -> bool) -> Vec<usize> {
    if shown >= count {
        return (0..count).collect();
    }
    let (mut chosen, others): (Vec<usize>, Vec<usize>) = (0..count).partition(|&item| kept(item));
    let wanted = shown.saturating_sub(chosen.len());
    chosen.extend((0..wanted).map(|place| others[place * others.len() / wanted]));
    chosen.sort_unstable();
    chosen
}

/// The column of a length that HELMET's own files must be made for.
///
/// # Errors
/// `Input` when HELMET has no files of that length.
pub fn column(length: usize) -> StageResult<usize> {
    LENGTHS.iter().position(|&known| known == length).ok_or_else(|| {
        StageError::input(format!("HELMET has no records of `length: {length}`; it has {LENGTHS:?}"))
            .with_hint("choose one of these lengths, or `records: generated`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSAGES: [usize; 5] = [50, 105, 220, 440, 1_000];

    #[test]
    fn items_follow_the_table_and_scale_between_its_columns() {
        let at = |length| items(PASSAGES, length).map(|items| (items.in_file, items.shown));
        assert_eq!(at(8_192).unwrap(), (50, 50));
        assert_eq!(at(131_072).unwrap(), (1_000, 1_000));
        assert_eq!(at(2_048).unwrap(), (50, 12));
        assert_eq!(at(12_288).unwrap(), (105, 75));
        assert_eq!(at(15_000).unwrap(), (105, 91));
        assert!(at(262_144).unwrap_err().message.contains("takes 2000 items a row"));
        assert_eq!([1_024, 4_096, 8_192, 65_536].map(|length| demonstrations(2, length)), [1, 1, 2, 2]);
    }

    #[test]
    fn thinning_keeps_what_matters_and_the_order() {
        assert_eq!(thinned(3, 5, |_| false), [0, 1, 2]);
        assert_eq!(thinned(10, 4, |item| item == 9), [0, 3, 6, 9]);
        assert_eq!(thinned(10, 1, |item| item == 4 || item == 5), [4, 5]);
        assert_eq!(thinned(4, 2, |_| false), [0, 2]);
    }

    #[test]
    fn files_of_records_exist_at_the_benchmarks_lengths_only() {
        assert_eq!(column(32_768).unwrap(), 2);
        assert!(column(4_096).unwrap_err().message.contains("no records of `length: 4096`"));
    }
}
