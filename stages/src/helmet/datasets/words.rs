//! The project's own words: names for needles, and running text without any fact worth keeping.

use std::collections::BTreeSet;

use retmask_model::random::Stream;

const ADJECTIVES: &[&str] = &[
    "amber", "ancient", "bitter", "blunt", "brisk", "broad", "calm", "chilly", "clever", "cloudy", "coarse", "copper",
    "cosy", "crooked", "curly", "damp", "dapper", "dark", "dense", "distant", "dusty", "eager", "early", "empty",
    "faint", "famous", "fierce", "flat", "fluffy", "foggy", "frosty", "gentle", "giant", "glossy", "golden", "grand",
    "gritty", "hasty", "heavy", "hidden", "hollow", "humble", "icy", "idle", "ivory", "jolly", "keen", "late", "lazy",
    "leafy", "little", "lively", "lonely", "loud", "lucky", "mellow", "mild", "misty", "modest", "muddy", "narrow",
    "neat", "noble", "odd", "pale", "patient", "plain", "polite", "proud", "quick", "quiet", "rapid", "rough", "round",
    "rusty", "salty", "sharp", "shy", "silent", "silver", "slender", "sleepy", "smooth", "snowy", "solid", "sour",
    "spare", "steep", "still", "stout", "sunny", "swift", "tame", "tidy", "tiny", "vast", "velvet", "warm", "wild",
    "wooden",
];

const NOUNS: &[&str] = &[
    "anchor",
    "apron",
    "arrow",
    "badge",
    "barn",
    "basket",
    "beacon",
    "bell",
    "bench",
    "blanket",
    "bottle",
    "branch",
    "bridge",
    "bucket",
    "button",
    "cabin",
    "candle",
    "canyon",
    "carpet",
    "castle",
    "cedar",
    "chimney",
    "circle",
    "clock",
    "comet",
    "compass",
    "copse",
    "corner",
    "cradle",
    "cup",
    "curtain",
    "desk",
    "ditch",
    "door",
    "drum",
    "engine",
    "falcon",
    "feather",
    "fence",
    "ferry",
    "fiddle",
    "forest",
    "fountain",
    "garden",
    "gate",
    "glacier",
    "glove",
    "hammer",
    "harbour",
    "hat",
    "hedge",
    "heron",
    "hill",
    "island",
    "jacket",
    "kettle",
    "kitchen",
    "ladder",
    "lamp",
    "lantern",
    "ledge",
    "lemon",
    "lighthouse",
    "mantle",
    "maple",
    "marble",
    "market",
    "meadow",
    "mill",
    "mirror",
    "mountain",
    "needle",
    "oar",
    "orchard",
    "otter",
    "paddle",
    "parcel",
    "path",
    "pebble",
    "pencil",
    "pillow",
    "pocket",
    "quarry",
    "quilt",
    "raven",
    "ribbon",
    "river",
    "rope",
    "saddle",
    "sail",
    "shelf",
    "shovel",
    "spoon",
    "stable",
    "stove",
    "table",
    "thimble",
    "tower",
    "violin",
    "wagon",
];

const VERBS: &[&str] = &[
    "admires",
    "borders",
    "brushes",
    "carries",
    "crosses",
    "describes",
    "faces",
    "follows",
    "greets",
    "guards",
    "helps",
    "joins",
    "keeps",
    "leaves",
    "lifts",
    "likes",
    "mends",
    "mentions",
    "moves",
    "paints",
    "passes",
    "praises",
    "remembers",
    "shades",
    "shelters",
    "surprises",
    "touches",
    "visits",
    "waits for",
    "watches",
];

const TIMES: &[&str] = &[
    "after the rain",
    "at dawn",
    "at noon",
    "before supper",
    "by the shore",
    "during the fair",
    "every autumn",
    "in the morning",
    "in the valley",
    "late in spring",
    "near the village",
    "on most evenings",
    "on quiet days",
    "once a week",
    "over the winter",
    "under the stars",
    "when the wind turns",
    "without a word",
];

fn pick<'a>(words: &[&'a str], stream: &mut Stream) -> &'a str {
    words[stream.below(words.len())]
}

/// So many distinct names such as `misty-lantern`. The first names of a longer list are those of a shorter one,
/// up to half of what two words give; a list beyond that has names of three words.
pub fn names(stream: &mut Stream, count: usize) -> Vec<String> {
    let long = count > ADJECTIVES.len() * NOUNS.len() / 2;
    let mut seen = BTreeSet::new();
    let mut names = Vec::with_capacity(count);
    while names.len() < count {
        let mut name = pick(ADJECTIVES, stream).to_owned();
        if long {
            name = format!("{name}-{}", pick(ADJECTIVES, stream));
        }
        name = format!("{name}-{}", pick(NOUNS, stream));
        if seen.insert(name.clone()) {
            names.push(name);
        }
    }
    names
}

/// A sentence of running text; it holds no digit.
pub fn filler_sentence(stream: &mut Stream) -> String {
    let mut thing = |article: &str| format!("{article} {} {}", pick(ADJECTIVES, stream), pick(NOUNS, stream));
    let (first, second) = (thing("The"), thing("the"));
    let (verb, time) = (pick(VERBS, stream), pick(TIMES, stream));
    match stream.below(3) {
        0 => format!("{first} {verb} {second} {time}."),
        1 => format!("{first} {verb} {second}."),
        _ => format!("{first} {verb} {second}, and {} {time}.", pick(VERBS, stream).to_owned() + " it again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream::derive(3, &[b"words"])
    }

    #[test]
    fn no_word_stands_twice() {
        for list in [ADJECTIVES, NOUNS, VERBS, TIMES] {
            assert_eq!(list.iter().collect::<BTreeSet<_>>().len(), list.len());
        }
    }

    #[test]
    fn names_are_distinct_however_many() {
        for count in [1, 100, 5_000, 20_000] {
            let names = names(&mut stream(), count);
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), count);
        }
        assert_eq!(names(&mut stream(), 100)[..10], names(&mut stream(), 10));
    }

    #[test]
    fn filler_has_sentences_without_digits() {
        let mut stream = stream();
        for _ in 0..500 {
            let sentence = filler_sentence(&mut stream);
            assert!(sentence.starts_with("The ") && sentence.ends_with('.'), "{sentence}");
            assert!(!sentence.chars().any(|letter| letter.is_ascii_digit()), "{sentence}");
        }
    }
}
