//! The instructions, and whether a text follows one.

use serde_json::{Map, Value};

use super::{language, marks, words};
use crate::metrics::punkt::Punkt;
use crate::metrics::trim;

/// How a count is held against a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    LessThan,
    AtLeast,
}

impl Relation {
    fn holds(self, count: usize, number: usize) -> bool {
        match self {
            Self::LessThan => count < number,
            Self::AtLeast => count >= number,
        }
    }
}

/// A count held against a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    pub number: usize,
    pub relation: Relation,
}

impl Bound {
    fn holds(self, count: usize) -> bool {
        self.relation.holds(count, self.number)
    }
}

/// An instruction with its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// Every keyword occurs.
    Keywords { keywords: Vec<String> },
    /// How often a keyword occurs.
    KeywordFrequency { keyword: String, bound: Bound },
    /// None of these words occurs.
    ForbiddenWords { words: Vec<String> },
    /// How often a letter occurs.
    LetterFrequency { letter: char, bound: Bound },
    /// The language, by its ISO 639-1 code.
    Language { code: String },
    /// How many sentences.
    Sentences { bound: Bound },
    /// So many paragraphs with `***` between them.
    Paragraphs { number: usize },
    /// How many words.
    Words { bound: Bound },
    /// So many paragraphs with an empty line between them, of which one begins with a word.
    NthParagraph { paragraphs: usize, nth: usize, first_word: String },
    /// At least so many placeholders in square brackets.
    Placeholders { number: usize },
    /// A postscript behind this marker.
    Postscript { marker: String },
    /// Exactly so many bullet points.
    Bullets { number: usize },
    /// One of three given answers.
    Constrained,
    /// At least so many highlighted parts.
    Highlights { number: usize },
    /// At least so many sections, each headed by this word and a number.
    Sections { splitter: String, number: usize },
    /// JSON and nothing else.
    Json,
    /// A title in double angular brackets.
    Title,
    /// Two different answers with six asterisks between them.
    TwoAnswers,
    /// The prompt first.
    RepeatsPrompt { prompt: String },
    /// This phrase at the end.
    Ends { phrase: String },
    /// How many words in capitals.
    CapitalWords { bound: Bound },
    /// English in capitals.
    Capital,
    /// English without capitals.
    Lowercase,
    /// No comma.
    NoComma,
    /// Quotation marks around all of it.
    Quoted,
}

/// The answers of `detectable_format:constrained_response`.
const CONSTRAINED: [&str; 3] = ["My answer is yes.", "My answer is no.", "My answer is maybe."];

impl Instruction {
    /// The instruction of a name with these values.
    ///
    /// # Errors
    /// There is none, or a value is missing or of another type.
    pub fn read(name: &str, values: &Map<String, Value>) -> Result<Self, String> {
        let value = |field: &str| match values.get(field) {
            None | Some(Value::Null) => Err(format!("`{field}` is missing")),
            Some(value) => Ok(value),
        };
        let text =
            |field: &str| value(field)?.as_str().map(str::to_owned).ok_or_else(|| format!("`{field}` is no text"));
        let texts = |field: &str| {
            let list = value(field)?.as_array().ok_or_else(|| format!("`{field}` is no list"))?;
            let list = list.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            list.ok_or_else(|| format!("an item of `{field}` is no text"))
        };
        let number = |field: &str| {
            let value = value(field)?;
            // The hub's table holds whole numbers as reals.
            let real = || value.as_f64().filter(|real| real.fract() == 0.0 && (0.0..1e9).contains(real));
            let number = value.as_u64().or_else(|| real().map(|real| real as u64));
            let number = number.and_then(|number| usize::try_from(number).ok());
            number.ok_or_else(|| format!("`{field}` is no whole number"))
        };
        let bound = |count: &str, relation: &str| {
            let relation = match value(relation)?.as_str() {
                Some("less than") => Relation::LessThan,
                Some("at least") => Relation::AtLeast,
                _ => return Err(format!("`{relation}` is neither `at least` nor `less than`")),
            };
            Ok(Bound { number: number(count)?, relation })
        };
        Ok(match name {
            "keywords:existence" => Self::Keywords { keywords: texts("keywords")? },
            "keywords:frequency" => {
                let keyword = trim(&text("keyword")?).to_owned();
                Self::KeywordFrequency { keyword, bound: bound("frequency", "relation")? }
            }
            "keywords:forbidden_words" => Self::ForbiddenWords { words: texts("forbidden_words")? },
            "keywords:letter_frequency" => {
                let letter = text("letter")?.to_lowercase();
                let mut letters = letter.chars();
                let (Some(letter), None) = (letters.next(), letters.next()) else {
                    return Err("`letter` is not one letter".into());
                };
                Self::LetterFrequency { letter, bound: bound("let_frequency", "let_relation")? }
            }
            "language:response_language" => Self::Language { code: text("language")? },
            "length_constraints:number_sentences" => Self::Sentences { bound: bound("num_sentences", "relation")? },
            "length_constraints:number_paragraphs" => Self::Paragraphs { number: number("num_paragraphs")? },
            "length_constraints:number_words" => Self::Words { bound: bound("num_words", "relation")? },
            "length_constraints:nth_paragraph_first_word" => {
                let nth = number("nth_paragraph")?;
                if nth == 0 {
                    return Err("`nth_paragraph` counts from 1".into());
                }
                Self::NthParagraph {
                    paragraphs: number("num_paragraphs")?,
                    nth,
                    first_word: text("first_word")?.to_lowercase(),
                }
            }
            "detectable_content:number_placeholders" => Self::Placeholders { number: number("num_placeholders")? },
            "detectable_content:postscript" => {
                Self::Postscript { marker: trim(&text("postscript_marker")?).to_owned() }
            }
            "detectable_format:number_bullet_lists" => Self::Bullets { number: number("num_bullets")? },
            "detectable_format:constrained_response" => Self::Constrained,
            "detectable_format:number_highlighted_sections" => Self::Highlights { number: number("num_highlights")? },
            "detectable_format:multiple_sections" => {
                let splitter = trim(&text("section_spliter")?).to_owned();
                Self::Sections { splitter, number: number("num_sections")? }
            }
            "detectable_format:json_format" => Self::Json,
            "detectable_format:title" => Self::Title,
            "combination:two_responses" => Self::TwoAnswers,
            "combination:repeat_prompt" => Self::RepeatsPrompt { prompt: text("prompt_to_repeat")? },
            "startend:end_checker" => Self::Ends { phrase: text("end_phrase")? },
            "startend:quotation" => Self::Quoted,
            "change_case:capital_word_frequency" => {
                Self::CapitalWords { bound: bound("capital_frequency", "capital_relation")? }
            }
            "change_case:english_capital" => Self::Capital,
            "change_case:english_lowercase" => Self::Lowercase,
            "punctuation:no_comma" => Self::NoComma,
            _ => return Err("there is no such instruction".into()),
        })
    }

    /// Whether it is about sentences, or words that are told apart within sentences.
    pub const fn splits_sentences(&self) -> bool {
        matches!(self, Self::Sentences { .. } | Self::CapitalWords { .. })
    }

    /// Whether a text follows it; `None` where that cannot be told.
    pub fn followed_by(&self, text: &str, punkt: &Punkt) -> Option<bool> {
        let lower = || text.to_lowercase();
        Some(match self {
            Self::Keywords { keywords } => {
                let lower = lower();
                keywords.iter().all(|keyword| lower.contains(&keyword.to_lowercase()))
            }
            Self::KeywordFrequency { keyword, bound } => bound.holds(lower().matches(&keyword.to_lowercase()).count()),
            Self::ForbiddenWords { words } => !words.iter().any(|word| marks::has_word(text, word)),
            Self::LetterFrequency { letter, bound } => {
                bound.holds(lower().chars().filter(|found| found == letter).count())
            }
            Self::Language { code } => return language::is(text, code),
            Self::Sentences { bound } => bound.holds(punkt.sentences(text).len()),
            Self::Paragraphs { number } => marks::starred_paragraphs(text) == Some(*number),
            Self::Words { bound } => bound.holds(words::count(text)),
            Self::NthParagraph { paragraphs, nth, first_word } => marks::first_word_of(text, *nth)
                .is_some_and(|(count, word)| count == *paragraphs && word == *first_word),
            Self::Placeholders { number } => marks::placeholders(text) >= *number,
            Self::Postscript { marker } => marks::has_postscript(&lower(), marker),
            Self::Bullets { number } => marks::bullets(text) == *number,
            Self::Constrained => CONSTRAINED.iter().any(|answer| text.contains(answer)),
            Self::Highlights { number } => marks::highlights(text) >= *number,
            Self::Sections { splitter, number } => marks::sections(text, splitter) >= *number,
            Self::Json => marks::is_json(text),
            Self::Title => marks::has_title(text),
            Self::TwoAnswers => marks::two_answers(text),
            Self::RepeatsPrompt { prompt } => trim(text).to_lowercase().starts_with(&trim(prompt).to_lowercase()),
            Self::Ends { phrase } => {
                let text = trim(text).trim_matches('"').to_lowercase();
                text.ends_with(&trim(phrase).to_lowercase())
            }
            Self::CapitalWords { bound } => {
                bound.holds(words::tokens(text, punkt).iter().filter(|word| words::is_upper(word)).count())
            }
            Self::Capital => words::is_upper(text) && language::is(text, "en")?,
            Self::Lowercase => words::is_lower(text) && language::is(text, "en")?,
            Self::NoComma => !text.contains(','),
            Self::Quoted => {
                let text = trim(text);
                text.chars().count() > 1 && text.starts_with('"') && text.ends_with('"')
            }
        })
    }
}
