//! A grid axis: explicit values, or evenly spaced integers between two ends.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::contract::ParameterError;

/// The most points an axis may have.
const MAX_POINTS: u32 = 1000;

/// Evenly spaced integers from `min` to `max`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Even {
    pub min: u32,
    pub max: u32,
    pub count: u32,
}

/// A grid axis, written as a list `[500, 1000]` or as `{min: 0, max: 5000, count: 20}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Axis {
    List(Vec<u32>),
    Even(Even),
}

impl Axis {
    /// The points in order. Evenly spaced ones are rounded to the nearest integer, halves to even, as
    /// `numpy.round(numpy.linspace(min, max, count))` does.
    pub fn points(&self) -> Vec<u32> {
        match self {
            Self::List(list) => list.clone(),
            Self::Even(Even { min, count: 1, .. }) => vec![*min],
            Self::Even(Even { min, max, count }) => {
                let step = f64::from(max - min) / f64::from(count - 1);
                let point = |index: u32| {
                    if index == count - 1 {
                        *max
                    } else {
                        (f64::from(index) * step + f64::from(*min)).round_ties_even() as u32
                    }
                };
                (0..*count).map(point).collect()
            }
        }
    }

    /// Checks that there are points, in rising order, none above `limit`.
    ///
    /// # Errors
    /// A refusal of `field` saying what is allowed.
    pub fn check(&self, field: &str, limit: u32) -> Result<(), ParameterError> {
        let refuse = |message: String| Err(ParameterError::new(field, message));
        if let Self::Even(Even { min, max, count }) = self {
            if *count == 0 || *count > MAX_POINTS {
                return refuse(format!("`count: {count}`; expected 1 to {MAX_POINTS} points"));
            }
            if min > max {
                return refuse(format!("`min: {min}` is above `max: {max}`"));
            }
            if *count > 1 && max - min < count - 1 {
                return refuse(format!("{count} different integers do not fit between {min} and {max}"));
            }
            if *count == 1 && min != max {
                return refuse(format!("one point cannot be both {min} and {max}; write [{min}]"));
            }
        }
        let points = self.points();
        if points.is_empty() || points.len() > MAX_POINTS as usize {
            return refuse(format!("{} points; expected 1 to {MAX_POINTS}", points.len()));
        }
        if let Some(pair) = points.windows(2).find(|pair| pair[0] >= pair[1]) {
            return refuse(format!("{} is followed by {}; expected rising values, each once", pair[0], pair[1]));
        }
        match points.iter().find(|point| **point > limit) {
            Some(point) => refuse(format!("{point} is too large; expected at most {limit}")),
            None => Ok(()),
        }
    }
}

impl Serialize for Axis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::List(list) => list.serialize(serializer),
            Self::Even(even) => even.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Axis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AxisVisitor)
    }
}

struct AxisVisitor;

impl<'de> Visitor<'de> for AxisVisitor {
    type Value = Axis;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of integers, or {min, max, count}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Axis, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = sequence.next_element::<u32>()? {
            if list.len() >= MAX_POINTS as usize {
                return Err(A::Error::custom(format!("more than {MAX_POINTS} values")));
            }
            list.push(value);
        }
        Ok(Axis::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Axis, A::Error> {
        Even::deserialize(MapAccessDeserializer::new(map)).map(Axis::Even)
    }
}

impl JsonSchema for Axis {
    fn schema_name() -> Cow<'static, str> {
        "Axis".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let list = generator.subschema_for::<Vec<u32>>();
        let even = generator.subschema_for::<Even>();
        json_schema!({ "oneOf": [list, even], "description": "A list of integers, or evenly spaced ones" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_grid() {
        let lengths = Axis::Even(Even { min: 0, max: 5000, count: 20 }).points();
        // numpy.round(numpy.linspace(0, 5000, 20)).astype(int)
        let expected = [
            0, 263, 526, 789, 1053, 1316, 1579, 1842, 2105, 2368, 2632, 2895, 3158, 3421, 3684, 3947, 4211, 4474, 4737,
            5000,
        ];
        assert_eq!(lengths, expected);
        let depths = Axis::Even(Even { min: 0, max: 100, count: 10 }).points();
        assert_eq!(depths, [0, 11, 22, 33, 44, 56, 67, 78, 89, 100]);
        // Halves go to the even neighbour: 0, 2.5, 5, 7.5, 10.
        assert_eq!(Axis::Even(Even { min: 0, max: 10, count: 5 }).points(), [0, 2, 5, 8, 10]);
        assert_eq!(Axis::Even(Even { min: 7, max: 7, count: 1 }).points(), [7]);
    }

    #[test]
    fn both_spellings_read_and_write() {
        for text in ["[500,1000]", r#"{"min":0,"max":5000,"count":20}"#] {
            let axis: Axis = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&axis).unwrap(), text);
        }
        let error = serde_json::from_str::<Axis>(r#"{"min": 0, "top": 3}"#).unwrap_err().to_string();
        assert!(error.contains("`top`") && error.contains("`max`"), "{error}");
        let error = serde_json::from_str::<Axis>("5").unwrap_err().to_string();
        assert!(error.contains("a list of integers, or {min, max, count}"), "{error}");
    }

    #[test]
    fn impossible_axes_are_refused() {
        let message = |axis: Axis| axis.check("depths", 100).unwrap_err().message;
        let even = |min, max, count| Axis::Even(Even { min, max, count });
        assert!(message(even(0, 100, 0)).contains("1 to 1000"));
        assert!(message(even(0, 100, 2000)).contains("1 to 1000"));
        assert!(message(even(5, 4, 2)).contains("above"));
        assert!(message(even(0, 3, 5)).contains("do not fit"));
        assert!(message(even(0, 3, 1)).contains("write [0]"));
        assert!(message(even(0, 101, 3)).contains("at most 100"));
        assert!(message(Axis::List(vec![])).contains("0 points"));
        assert!(message(Axis::List(vec![5, 5])).contains("rising"));
        even(0, 3, 4).check("depths", 100).unwrap();
    }
}
