//! Sizes as people type them.

/// Units, longest spelling first, and their bytes: powers of 1000, and with `i` powers of 1024.
pub const UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Bytes of a size such as `24GB`, `1.5 GiB` or `4096`.
pub fn parse(text: &str) -> Result<u64, String> {
    let expected = || "expected a size above 0, such as 24GB, 80GiB or 500MB".to_owned();
    let typed = text.trim();
    let ends_with = |unit: &str| {
        let place = typed.len().checked_sub(unit.len())?;
        typed.get(place..).filter(|end| end.eq_ignore_ascii_case(unit)).map(|_| &typed[..place])
    };
    let (number, unit) = UNITS
        .into_iter()
        .chain([("B", 1)])
        .find_map(|(unit, bytes)| ends_with(unit).map(|number| (number, bytes)))
        .unwrap_or((typed, 1));
    let number: f64 = number.trim().parse().map_err(|_| expected())?;
    let bytes = number * unit as f64;
    // 2^63: no size reaches it, and below it the conversion is exact enough.
    if (1.0..9.2e18).contains(&bytes) { Ok(bytes.round() as u64) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_have_units() {
        let sizes = [
            ("24GB", 24_000_000_000),
            ("24 gb", 24_000_000_000),
            ("1.5GiB", 1_610_612_736),
            ("4096", 4096),
            ("4096B", 4096),
            ("2mib", 2 << 20),
        ];
        for (text, bytes) in sizes {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "GB", "-1GB", "0", "1e30TB", "nanGB", "24 apples", "1,5GB", "é"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
