//! The language of a text.

use whatlang::{Detector, Lang};

/// Languages by their ISO 639-1 codes, as far as they can be told apart here.
const KNOWN: &[(&str, Lang)] = &[
    ("af", Lang::Afr),
    ("ar", Lang::Ara),
    ("bg", Lang::Bul),
    ("bn", Lang::Ben),
    ("ca", Lang::Cat),
    ("cs", Lang::Ces),
    ("da", Lang::Dan),
    ("de", Lang::Deu),
    ("el", Lang::Ell),
    ("en", Lang::Eng),
    ("es", Lang::Spa),
    ("et", Lang::Est),
    ("fa", Lang::Pes),
    ("fi", Lang::Fin),
    ("fr", Lang::Fra),
    ("gu", Lang::Guj),
    ("he", Lang::Heb),
    ("hi", Lang::Hin),
    ("hr", Lang::Hrv),
    ("hu", Lang::Hun),
    ("id", Lang::Ind),
    ("it", Lang::Ita),
    ("ja", Lang::Jpn),
    ("kn", Lang::Kan),
    ("ko", Lang::Kor),
    ("lt", Lang::Lit),
    ("lv", Lang::Lav),
    ("mk", Lang::Mkd),
    ("ml", Lang::Mal),
    ("mr", Lang::Mar),
    ("ne", Lang::Nep),
    ("nl", Lang::Nld),
    ("no", Lang::Nob),
    ("pa", Lang::Pan),
    ("pl", Lang::Pol),
    ("pt", Lang::Por),
    ("ro", Lang::Ron),
    ("ru", Lang::Rus),
    ("sk", Lang::Slk),
    ("sl", Lang::Slv),
    ("sv", Lang::Swe),
    ("ta", Lang::Tam),
    ("te", Lang::Tel),
    ("th", Lang::Tha),
    ("tl", Lang::Tgl),
    ("tr", Lang::Tur),
    ("uk", Lang::Ukr),
    ("ur", Lang::Urd),
    ("vi", Lang::Vie),
    ("zh-cn", Lang::Cmn),
];

/// Whether a text is in the language of this code. A text without letters is in any, as in IFEval; `None` for languages
/// that are not known here.
pub fn is(text: &str, code: &str) -> Option<bool> {
    let (_, wanted) = KNOWN.iter().find(|(known, _)| *known == code)?;
    // Languages that the published program does not know are not taken for one that it does.
    let detector = Detector::with_allowlist(KNOWN.iter().map(|(_, language)| *language).collect());
    Some(detector.detect(text).is_none_or(|found| found.lang() == *wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart() {
        let german = "Der alte Müller verkaufte seine Mühle, weil er kein Geld mehr hatte.";
        assert_eq!((is(german, "de"), is(german, "en")), (Some(true), Some(false)));
        assert_eq!(is("The old miller sold his mill because he had no more money.", "en"), Some(true));
        assert_eq!(is("बूढ़े चक्कीवाले ने अपनी चक्की बेच दी।", "hi"), Some(true));
        assert_eq!((is("12 + 3", "en"), is(german, "sw")), (Some(true), None));
    }
}
