//! Names: which are allowed, and which one was probably meant.

/// Whether a name is `[a-z0-9][a-z0-9-]*`: it stands in addresses, file names and commands unquoted.
pub fn is_valid(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 100
        && name.bytes().next().is_some_and(allowed)
        && name.bytes().all(|byte| allowed(byte) || byte == b'-')
}

/// The candidate nearest to `name`, if it is near enough to be what was meant; the first of equals.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 1 + name.chars().count() / 4;
    candidates
        .into_iter()
        .map(|candidate| {
            // `_` for `-` and capitals are one slip, however often they occur.
            let same_letters = candidate.eq_ignore_ascii_case(&name.replace('_', "-"));
            (if same_letters { 0 } else { strsim::osa_distance(name, candidate) }, candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Help for an unknown name: the nearest one, and all there are.
pub fn suggest<'a>(name: &str, what: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let mut help = Vec::new();
    if let Some(near) = nearest(name, candidates.iter().copied()) {
        help.push(format!("did you mean `{near}`?"));
    }
    help.push(match candidates.as_slice() {
        [] => format!("there are no {what}"),
        list => format!("{what}: {}", list_names(list)),
    });
    help
}

/// Names for a message; a long list is cut.
pub fn list_names(names: &[&str]) -> String {
    const SHOWN: usize = 24;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["a", "0", "build-mask", "x1-2"] {
            assert!(is_valid(name), "{name}");
        }
        for name in ["", "-a", "A", "a_b", "a.b", "ä", "a b", "a/b", &"a".repeat(101)] {
            assert!(!is_valid(name), "{name}");
        }
    }

    #[test]
    fn the_nearest_name() {
        let names = ["score-heads", "build-mask", "helmet", "helmet-score"];
        assert_eq!(nearest("buld-mask", names), Some("build-mask"));
        assert_eq!(nearest("BUILD_MASK", names), Some("build-mask"));
        assert_eq!(nearest("helmets", names), Some("helmet"));
        assert_eq!(nearest("hemlet", names), Some("helmet"));
        assert_eq!(nearest("xyz", names), None);
        assert_eq!(nearest("x", []), None);
    }
}
