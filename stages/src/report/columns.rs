//! Checked, typed access to the columns of an input table: a wrong value is the input's fault and is
//! named by port, row and column.

use std::fmt::Display;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, UInt32Type};

use crate::artifact::{schema, table};
use crate::contract::{Input, StageError, StageResult};

/// One input table whose required columns are there, of their types, without missing values.
pub(super) struct Columns {
    place: String,
    batch: RecordBatch,
}

impl Columns {
    /// Reads the table at a port; `label` is empty unless the port is labelled.
    ///
    /// # Errors
    /// `Input` when the file is not a table of the media it claims to be.
    pub fn read(port: &str, label: &str, input: &Input) -> StageResult<Self> {
        let place = if label.is_empty() { format!("port `{port}`") } else { format!("port `{port}`, label `{label}`") };
        let expected = schema::of(input.media)
            .ok_or_else(|| StageError::internal(format!("{place}: {} is not a table", input.media.name())))?;
        let batch = table::read(&input.path, &expected)
            .map_err(|error| StageError { message: format!("{place}: {}", error.message), ..error })?;
        let columns = Self { place, batch };
        for field in expected.fields().iter().filter(|field| !field.is_nullable()) {
            let column = columns.column(field.name())?;
            if let Some(row) = (0..column.len()).find(|&row| column.is_null(row)) {
                return Err(columns.wrong(row, field.name(), "the value is missing"));
            }
        }
        Ok(columns)
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// An input error about one value; rows are counted from 0, as the readers of Parquet do.
    pub fn wrong(&self, row: usize, column: &str, why: impl Display) -> StageError {
        StageError::input(format!("{}: row {row}, column `{column}`: {why}", self.place))
    }

    /// An input error about the table as a whole.
    pub fn refuse(&self, why: impl Display) -> StageError {
        StageError::input(format!("{}: {why}", self.place))
    }

    /// The column itself.
    pub fn column(&self, name: &str) -> StageResult<&dyn Array> {
        self.batch
            .column_by_name(name)
            .map(AsRef::as_ref)
            .ok_or_else(|| StageError::internal(format!("{}: column `{name}` was not checked", self.place)))
    }

    fn primitive<T: ArrowPrimitiveType>(&self, name: &str) -> StageResult<Vec<Option<T::Native>>> {
        let column = self.column(name)?;
        let values = column
            .as_primitive_opt::<T>()
            .ok_or_else(|| StageError::internal(format!("{}: column `{name}` was read as another type", self.place)))?;
        Ok(values.iter().collect())
    }

    /// A column of counts or positions.
    pub fn counts(&self, name: &str) -> StageResult<Vec<u32>> {
        let values = self.primitive::<UInt32Type>(name)?;
        values
            .into_iter()
            .enumerate()
            .map(|(row, value)| value.ok_or_else(|| self.wrong(row, name, "the value is missing")))
            .collect()
    }

    /// A column of finite numbers.
    pub fn numbers(&self, name: &str) -> StageResult<Vec<f64>> {
        let values = self.optional_numbers(name)?;
        values
            .into_iter()
            .enumerate()
            .map(|(row, value)| value.ok_or_else(|| self.wrong(row, name, "the value is missing")))
            .collect()
    }

    /// A column of finite numbers, some of which may be absent.
    pub fn optional_numbers(&self, name: &str) -> StageResult<Vec<Option<f64>>> {
        let values = self.primitive::<Float64Type>(name)?;
        match values
            .iter()
            .enumerate()
            .find_map(|(row, value)| value.filter(|value| !value.is_finite()).map(|value| (row, value)))
        {
            Some((row, value)) => Err(self.wrong(row, name, format!("{value} is not a finite number"))),
            None => Ok(values),
        }
    }

    /// A column of numbers within `low..=high`.
    pub fn numbers_within(&self, name: &str, low: f64, high: f64) -> StageResult<Vec<f64>> {
        let values = self.numbers(name)?;
        match values.iter().position(|value| !(low..=high).contains(value)) {
            Some(row) => Err(self.wrong(row, name, format!("{} lies outside {low} to {high}", values[row]))),
            None => Ok(values),
        }
    }

    /// A column of yes and no.
    pub fn flags(&self, name: &str) -> StageResult<Vec<bool>> {
        let column = self.column(name)?;
        let values = column
            .as_boolean_opt()
            .ok_or_else(|| StageError::internal(format!("{}: column `{name}` was read as another type", self.place)))?;
        Ok(values.iter().map(|value| value == Some(true)).collect())
    }

    /// A column of texts.
    pub fn texts(&self, name: &str) -> StageResult<Vec<String>> {
        let column = self.column(name)?;
        let values = column
            .as_string_opt::<i32>()
            .ok_or_else(|| StageError::internal(format!("{}: column `{name}` was read as another type", self.place)))?;
        Ok(values.iter().map(|value| value.unwrap_or_default().to_owned()).collect())
    }

    /// The turns of a conversation as (role, content).
    pub fn conversation(&self, name: &str, row: usize) -> StageResult<Vec<(String, String)>> {
        let wrong_type = || StageError::internal(format!("{}: column `{name}` was read as another type", self.place));
        let turns = self.column(name)?.as_list_opt::<i32>().ok_or_else(wrong_type)?.value(row);
        let turns = turns.as_struct_opt().ok_or_else(wrong_type)?;
        let text = |part: &str| {
            turns.column_by_name(part).and_then(|column| column.as_string_opt::<i32>()).ok_or_else(wrong_type)
        };
        let (roles, contents) = (text("role")?, text("content")?);
        Ok((0..turns.len()).map(|turn| (roles.value(turn).to_owned(), contents.value(turn).to_owned())).collect())
    }
}
