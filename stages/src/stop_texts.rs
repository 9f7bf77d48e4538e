//! Texts that end a response.

use retmask_model::ModelResult;
use retmask_model::text::{TextCodec, TextStream};

/// Looks for stop texts in a response as it comes.
pub struct StopWatch<'a> {
    stop: &'a [String],
    stream: TextStream<'a>,
    /// The end of the text, as much as a stop text that is not whole yet can hold.
    tail: String,
}

impl<'a> StopWatch<'a> {
    pub fn new(codec: &'a TextCodec, stop: &'a [String]) -> Self {
        Self { stop, stream: codec.stream(), tail: String::new() }
    }

    /// Whether a stop text is there with this token.
    ///
    /// # Errors
    /// As decoding.
    pub fn sees_a_stop(&mut self, token: u32) -> ModelResult<bool> {
        let Some(longest) = self.stop.iter().map(String::len).max() else { return Ok(false) };
        self.tail.push_str(&self.stream.push(token)?);
        if self.stop.iter().any(|stop| self.tail.contains(stop)) {
            return Ok(true);
        }
        let mut cut = self.tail.len().saturating_sub(longest);
        while !self.tail.is_char_boundary(cut) {
            cut -= 1;
        }
        self.tail.drain(..cut);
        Ok(false)
    }
}

/// The text before the first stop text; all of it where there is none.
pub fn up_to_a_stop<'a>(text: &'a str, stop: &[String]) -> &'a str {
    let first = stop.iter().filter_map(|stop| text.find(stop.as_str())).min();
    &text[..first.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use retmask_model::text::TextCodec;

    use super::*;
    use crate::pretrain::tokenizer::text_assets;

    #[test]
    fn a_stop_text_is_seen_with_the_token_that_completes_it() {
        let codec = TextCodec::new(&text_assets(1024).unwrap()).unwrap();
        let text = "ka to\u{e9}\u{e9}mi no ra";
        let tokens = codec.encode(text, false).unwrap();
        for stop in ["\u{e9}mi", "no", "a t", "zz"] {
            let stops = [stop.to_owned(), "never there".to_owned()];
            let mut watch = StopWatch::new(&codec, &stops);
            let mut seen = None;
            for (index, &token) in tokens.iter().enumerate() {
                if watch.sees_a_stop(token).unwrap() {
                    seen = Some(index + 1);
                    break;
                }
            }
            let whole = (1..=tokens.len()).find(|&count| codec.decode(&tokens[..count], true).unwrap().contains(stop));
            assert_eq!(seen, whole, "{stop}");
        }
        assert!(!StopWatch::new(&codec, &[]).sees_a_stop(tokens[0]).unwrap());
    }

    #[test]
    fn a_response_is_kept_up_to_the_first_stop_text() {
        let stop = ["END".to_owned(), "\n\n".to_owned()];
        assert_eq!(up_to_a_stop("a\n\nb END c", &stop), "a");
        assert_eq!(up_to_a_stop("a END\n\nb", &stop), "a ");
        assert_eq!(up_to_a_stop("a", &stop), "a");
        assert_eq!(up_to_a_stop("a", &[]), "a");
    }
}
