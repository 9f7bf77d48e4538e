//! What a stage asks of the machine.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::Diagnostic;
use super::declaration::{map_with_keys, used};
use super::graph::Resources;
use super::tree::{Meaning, Node};
use crate::sizes::UNITS;

/// Keys of `resources`.
pub const RESOURCE_KEYS: &[&str] = &["cpus", "memory", "gpus", "checkpoint-minutes"];

/// Reads `resources`; a faulty part is reported and left out.
pub fn read(node: &Node, faults: &mut Vec<Diagnostic>) -> Resources {
    let mut resources = Resources::default();
    let Some(keys) = map_with_keys(node, "`resources`", RESOURCE_KEYS, faults) else { return resources };
    for (key, slot) in [("cpus", &mut resources.cpus), ("gpus", &mut resources.gpus)] {
        let Some(entry) = keys.entry(key) else { continue };
        *slot = count(&entry.value);
        if slot.is_none() && !entry.value.is_unresolved() {
            let message = format!("`{key}` is a whole number from 1, found {}", entry.value.describe());
            faults.push(used(Diagnostic::new(entry.value.place, message), &entry.value));
        }
    }
    if let Some(entry) = keys.entry("memory") {
        resources.memory = memory(&entry.value);
        if resources.memory.is_none() && !entry.value.is_unresolved() {
            let message = format!("`memory` is a number with a unit, found {}", entry.value.describe());
            let units: Vec<&str> = UNITS.iter().map(|(unit, _)| *unit).collect();
            let fault = Diagnostic::new(entry.value.place, message)
                .help(format!("for example 6GB; units: {}", units.join(", ")));
            faults.push(used(fault, &entry.value));
        }
    }
    if let Some(entry) = keys.entry("checkpoint-minutes") {
        resources.checkpoint_interval = minutes(&entry.value);
        if resources.checkpoint_interval.is_none() && !entry.value.is_unresolved() {
            let message = format!("`checkpoint-minutes` is a number from 0, found {}", entry.value.describe());
            faults.push(used(Diagnostic::new(entry.value.place, message), &entry.value));
        }
    }
    resources
}

fn minutes(node: &Node) -> Option<Duration> {
    let minutes = match node.scalar()?.meaning() {
        Meaning::Unsigned(number) => number as f64,
        Meaning::Real(number) => number,
        _ => return None,
    };
    Duration::try_from_secs_f64(60.0 * minutes).ok()
}

fn count(node: &Node) -> Option<NonZeroU32> {
    match node.scalar()?.meaning() {
        Meaning::Unsigned(number) => NonZeroU32::new(u32::try_from(number).ok()?),
        _ => None,
    }
}

fn memory(node: &Node) -> Option<NonZeroU64> {
    let Meaning::Text(text) = node.scalar()?.meaning() else { return None };
    let (number, unit) = UNITS.iter().find_map(|&(unit, bytes)| Some((text.strip_suffix(unit)?.trim_end(), bytes)))?;
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let amount: f64 = if plain { number.parse().ok()? } else { return None };
    let bytes = amount * unit as f64;
    // Exact for every amount a machine can have: f64 counts bytes exactly up to 8 PiB.
    if bytes < 1.0 || bytes > (1_u64 << 53) as f64 {
        return None;
    }
    NonZeroU64::new(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::super::{Place, tree};
    use super::*;

    #[test]
    fn minutes_between_checkpoints_may_be_a_fraction_and_none_at_all() {
        let read = |text: &str| {
            let value = tree::Value::Scalar(tree::Scalar { text: text.into(), plain: true });
            minutes(&Node::new(Place { text: 0, start: 0, end: 0 }, value)).map(|found| found.as_secs_f64())
        };
        assert_eq!([read("0"), read("10"), read("0.5")], [Some(0.0), Some(600.0), Some(30.0)]);
        for wrong in ["-1", "often", ".nan", ".inf", "1e300", ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn memory_takes_units() {
        let read = |text: &str| {
            let value = tree::Value::Scalar(tree::Scalar { text: text.into(), plain: true });
            memory(&Node::new(Place { text: 0, start: 0, end: 0 }, value)).map(NonZeroU64::get)
        };
        assert_eq!(read("6GB"), Some(6_000_000_000));
        assert_eq!(read("1.5 GiB"), Some(1_610_612_736));
        assert_eq!(read("512MiB"), Some(536_870_912));
        for wrong in ["6", "GB", "-1GB", "0GB", "1e3GB", "9999999TB", "6gb", "6 G", "1.2.3GB", "infGB"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
