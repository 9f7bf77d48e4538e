use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::*;
use crate::contract::{Cancel, Fault, NoRows, Progress, RowContent, RowKeeper, RowScope};

#[derive(Debug, Clone, PartialEq)]
struct Square(u32);

impl RowResult for Square {
    fn write(&self, bytes: &mut Writer) {
        bytes.number(self.0);
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        bytes.number().map(Self)
    }
}

/// Rows in memory; some may be claimed by somebody else, or damaged.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Shelf>>);

#[derive(Default)]
struct Shelf {
    kept: HashMap<RowKey, Vec<u8>>,
    damaged: Vec<RowKey>,
    /// What somebody else puts after some more claims.
    elsewhere: Vec<(RowKey, Option<Vec<u8>>)>,
    patience: u32,
    finished: u32,
}

impl Rows for Memory {
    fn contains(&self, row: &RowKey) -> bool {
        self.0.borrow().kept.contains_key(row)
    }

    fn get(&mut self, row: &RowKey) -> StageResult<Option<Vec<u8>>> {
        let mut shelf = self.0.borrow_mut();
        if shelf.damaged.contains(row) {
            shelf.kept.remove(row);
        }
        Ok(shelf.kept.get(row).cloned())
    }

    fn claim(&mut self, rows: &[RowKey]) -> StageResult<Vec<Claim>> {
        let shelf = &mut *self.0.borrow_mut();
        shelf.patience = shelf.patience.saturating_sub(1);
        if shelf.patience == 0 {
            let put = shelf.elsewhere.drain(..).filter_map(|(key, result)| result.map(|result| (key, result)));
            shelf.kept.extend(put);
        }
        Ok(rows
            .iter()
            .map(|row| match row {
                row if shelf.kept.contains_key(row) => Claim::Kept,
                row if shelf.elsewhere.iter().any(|(key, _)| key == row) => Claim::Elsewhere,
                _ => Claim::Mine,
            })
            .collect())
    }

    fn put(&mut self, row: &RowKey, result: &[u8]) -> StageResult<()> {
        let mut shelf = self.0.borrow_mut();
        shelf.damaged.retain(|damaged| damaged != row);
        shelf.kept.insert(*row, result.to_vec());
        Ok(())
    }

    fn finish(self: Box<Self>) -> StageResult<()> {
        self.0.borrow_mut().finished += 1;
        Ok(())
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<RowCounts>>);

impl Progress for Told {
    fn phase(&self, _name: &str, _unit: &str, _total: u64) {}
    fn advance(&self, _count: u64) {}
    fn tokens(&self, _count: u64) {}
    fn rows(&self, counts: RowCounts) {
        self.0.lock().unwrap().push(counts);
    }
    fn log(&self, _line: &str) {}
}

fn row(number: u32) -> Row {
    Row { map: 0, key: RowContent::default().number("number", number.into()).key() }
}

/// The squares of these numbers, which of them were made, and the last counts.
fn squares(map: Box<dyn Rows>, numbers: &[u32]) -> (Vec<u32>, Vec<u32>, RowCounts) {
    let told = Arc::new(Told::default());
    let context = Context::new(told.clone(), Cancel::default(), "");
    let rows: Vec<Row> = numbers.iter().map(|number| row(*number)).collect();
    let mut made_here = Vec::new();
    let results = work_through(&context, vec![map], &rows, &mut |missing, made| {
        for &row in missing.iter().rev() {
            made_here.push(numbers[row]);
            made.done(row, Square(numbers[row] * numbers[row]))?;
        }
        Ok(())
    });
    let counts = *told.0.lock().unwrap().last().unwrap();
    (results.unwrap().into_iter().map(|Square(square)| square).collect(), made_here, counts)
}

#[test]
fn each_row_is_made_once_and_only_when_it_is_missing() {
    let memory = Memory::default();
    let run = |numbers: &[u32]| squares(Box::new(memory.clone()), numbers);
    assert_eq!(run(&[1, 2, 1, 3]), (vec![1, 4, 1, 9], vec![3, 2, 1], RowCounts { total: 4, reused: 1, computed: 3 }));
    // Reordered, extended, one edited.
    assert_eq!(run(&[3, 1, 2]), (vec![9, 1, 4], vec![], RowCounts { total: 3, reused: 3, computed: 0 }));
    assert_eq!(run(&[1, 2, 3, 4]).1, [4]);
    assert_eq!(run(&[1, 7, 3, 4]).1, [7]);
    assert_eq!(memory.0.borrow().finished, 4);
    // Nothing kept at all.
    assert_eq!(squares(Box::new(NoRows), &[5, 5, 6]).0, [25, 25, 36]);
    assert!(NoRows.open(&RowScope { rows: "", inputs: &[], parameters: Default::default() }).is_ok());
}

#[test]
fn damaged_rows_are_made_again_and_those_of_others_waited_for() {
    let memory = Memory::default();
    squares(Box::new(memory.clone()), &[1, 2, 3]);
    memory.0.borrow_mut().damaged.push(row(2).key);
    assert_eq!(squares(Box::new(memory.clone()), &[1, 2, 3]).0, [1, 4, 9]);
    memory.0.borrow_mut().damaged.push(row(2).key);
    assert_eq!(squares(Box::new(memory.clone()), &[1, 2, 3]).1, [2]);
    // One that somebody else makes, and one that he promised and left.
    let theirs = [(row(8).key, Some(64u32.to_le_bytes().to_vec())), (row(9).key, None)];
    *memory.0.borrow_mut() = Shelf { elsewhere: theirs.to_vec(), patience: 3, ..Shelf::default() };
    let (results, made, counts) = squares(Box::new(memory), &[7, 8, 9]);
    assert_eq!((results, made), (vec![49, 64, 81], vec![7, 9]));
    assert_eq!(counts, RowCounts { total: 3, reused: 1, computed: 2 });
}

#[test]
fn what_was_made_before_a_failure_is_kept() {
    let memory = Memory::default();
    let told = Arc::new(Told::default());
    let context = Context::new(told, Cancel::default(), "");
    let failing =
        work_through::<Square>(&context, vec![Box::new(memory.clone())], &[row(1), row(2)], &mut |_, made| {
            made.done(0, Square(1))?;
            Err(StageError::interrupted())
        });
    assert_eq!(failing.unwrap_err().fault, Fault::Interrupted);
    assert_eq!(squares(Box::new(memory.clone()), &[1, 2]).1, [2]);
    // Bytes of another form are no result.
    memory.0.borrow_mut().kept.insert(row(1).key, vec![1, 2, 3]);
    let maps: Vec<Box<dyn Rows>> = vec![Box::new(memory)];
    let broken = work_through::<Square>(&context, maps, &[row(1)], &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(broken.fault, Fault::Internal);
}
