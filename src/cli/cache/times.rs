//! Ages and times as they are typed and shown.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Timestamp, Unit};

/// An age such as `30d`, `12h` or `2 weeks`; a day has 24 hours.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let expected = || "expected an age such as 30d, 12h or 2 weeks".to_owned();
    let span: Span = text.trim().parse().map_err(|_| expected())?;
    let days = SpanRelativeTo::days_are_24_hours();
    let seconds = span.total((Unit::Second, days)).map_err(|_| expected())?;
    if seconds < 0.0 { Err(expected()) } else { Duration::try_from_secs_f64(seconds).map_err(|_| expected()) }
}

/// Milliseconds since 1970-01-01 UTC of `age` ago.
pub fn ago(age: Duration) -> u64 {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// `2026-11-23 09:41`, in UTC, of milliseconds since 1970-01-01.
pub fn minute(milliseconds: u64) -> String {
    timestamp(milliseconds).strftime("%Y-%m-%d %H:%M").to_string()
}

/// The time of these milliseconds since 1970-01-01 UTC; of absurd ones 1970.
pub fn timestamp(milliseconds: u64) -> Timestamp {
    i64::try_from(milliseconds).ok().and_then(|time| Timestamp::from_millisecond(time).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        let ages = [("30d", 30 * 86_400), ("12h", 43_200), ("2 weeks", 14 * 86_400), ("1d 12h", 129_600), ("0s", 0)];
        for (text, seconds) in ages {
            assert_eq!(parse_age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "30", "-1d", "soon", "2 months", "d"] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
        assert_eq!(minute(1_800_000_000_000), "2027-01-15 08:00");
        assert_eq!(minute(u64::MAX), "1970-01-01 00:00");
    }
}
