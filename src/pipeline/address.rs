//! `NAME[AXIS=LABEL,...].PORT`: how one stage names another, or one of its instances, and an output of it.

/// A name as written under `in`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address<'a> {
    /// The stage or source.
    pub name: &'a str,
    /// The instance, as far as it is said: axis and label.
    pub selected: Vec<(&'a str, &'a str)>,
    /// The output port, where one is named.
    pub port: Option<&'a str>,
}

impl<'a> Address<'a> {
    /// Takes a name apart.
    ///
    /// # Errors
    /// What is wrong with its form.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let end = text.find(['[', '.']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let Some(inner) = rest.strip_prefix('[') else {
            return Ok(Self { name, selected: Vec::new(), port: rest.strip_prefix('.') });
        };
        let Some((inside, rest)) = inner.split_once(']') else { return Err("`[` has no closing `]`".into()) };
        let mut selected: Vec<(&str, &str)> = Vec::new();
        for part in inside.split(',') {
            let Some((axis, label)) = part.split_once('=') else {
                return Err(format!("`{part}` is not AXIS=LABEL"));
            };
            if selected.iter().any(|(other, _)| *other == axis) {
                return Err(format!("the axis `{axis}` stands twice"));
            }
            selected.push((axis, label));
        }
        match rest.strip_prefix('.') {
            Some(port) => Ok(Self { name, selected, port: Some(port) }),
            None if rest.is_empty() => Ok(Self { name, selected, port: None }),
            None => Err(format!("`{rest}` stands behind `]`, where only `.PORT` can")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_instances_and_ports() {
        let address = |name, selected: &[(&'static str, &'static str)], port| {
            Ok(Address { name, selected: selected.to_vec(), port })
        };
        assert_eq!(Address::parse("mask"), address("mask", &[], None));
        assert_eq!(Address::parse("scores.trials"), address("scores", &[], Some("trials")));
        let one = [("tau", "0.1")];
        assert_eq!(Address::parse("mask[tau=0.1]"), address("mask", &one, None));
        assert_eq!(Address::parse("mask[tau=0.1].mask"), address("mask", &one, Some("mask")));
        assert_eq!(Address::parse("a[b=c,d=e]"), address("a", &[("b", "c"), ("d", "e")], None));
        for wrong in ["a[", "a[b=c", "a[]", "a[b]", "a[b=c]d", "a[b=c,b=d]", "a[b=c,]"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
