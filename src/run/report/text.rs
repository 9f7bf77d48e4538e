//! Durations, rates and sizes as people read them.

/// `0.42 s`, `12.3 s`, `3 m 05 s`, `2 h 07 m`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 9.995 => format!("{seconds:.2} s"),
        _ if seconds < 59.95 => format!("{seconds:.1} s"),
        ..3600 => format!("{} m {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} m", whole / 3600, whole % 3600 / 60),
    }
}

/// A count per second with three digits: `0.31`, `4.20`, `57.3`, `1 240`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 9.995 => format!("{rate:.2}"),
        rate if rate < 99.95 => format!("{rate:.1}"),
        rate => grouped(rate.round() as u64),
    }
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A size in binary units: `812 B`, `4.0 KiB`, `257 MiB`.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = size as f64 / 1024.0;
    if size < 1024 {
        return format!("{size} B");
    }
    for unit in UNITS {
        if value < 1023.95 || unit == UNITS[4] {
            return if value < 99.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{size} B")
}

#[cfg(test)]
mod tests {
    use super::{bytes, duration, rate};

    #[test]
    fn durations_keep_three_digits() {
        let shown = [0.0, 0.421, 9.99, 9.999, 59.94, 59.96, 185.2, 3599.6, 7620.0].map(duration);
        let expected =
            ["0.00 s", "0.42 s", "9.99 s", "10.0 s", "59.9 s", "1 m 00 s", "3 m 05 s", "1 h 00 m", "2 h 07 m"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn rates_and_sizes_are_short() {
        assert_eq!([0.314, 57.26, 1239.7].map(rate), ["0.31", "57.3", "1 240"]);
        assert_eq!([0, 812, 4096, 269_000_000].map(bytes), ["0 B", "812 B", "4.0 KiB", "257 MiB"]);
    }
}
