//! What each head copied out of the needle in one trial.

use std::collections::HashSet;
use std::ops::Range;

use super::ScoreForm;

/// Scores of all heads (`layer * heads + head`) for one trial.
///
/// At every step, a head whose strongest key `i` lies in the needle's span gains when the token generated at
/// that step equals `prompt[i]`. `probes` holds, per generated token, every head's strongest key. All heads
/// score 0 when the needle was not found in the prompt.
pub fn score(
    form: ScoreForm,
    heads: usize,
    prompt: &[u32],
    span: Option<&Range<usize>>,
    generated: &[u32],
    probes: &[Vec<u32>],
) -> Vec<f64> {
    let mut scores = vec![0.0; heads];
    let Some(span) = span else { return scores };
    let copied = |head: usize, step: usize| {
        let key = probes[step][head] as usize;
        span.contains(&key) && prompt.get(key) == Some(&generated[step])
    };
    match form {
        ScoreForm::Script => {
            // Added step by step, as the script does: the rounding of the sums is then the same.
            let gain = 1.0 / span.len() as f64;
            for step in 0..generated.len() {
                (0..heads).filter(|head| copied(*head, step)).for_each(|head| scores[head] += gain);
            }
        }
        ScoreForm::Set => {
            let needle: HashSet<u32> = prompt[span.start..span.end.min(prompt.len())].iter().copied().collect();
            for (head, score) in scores.iter_mut().enumerate() {
                let tokens: HashSet<u32> =
                    (0..generated.len()).filter(|step| copied(head, *step)).map(|step| generated[step]).collect();
                *score = tokens.len() as f64 / needle.len() as f64;
            }
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_copied_twice_counts_twice_in_the_script_and_once_in_the_set() {
        let prompt = [5, 6, 7, 8, 7, 9];
        let span = 2..5; // 7, 8, 7
        let generated = [7, 8, 7, 6, 7];
        let probes: Vec<Vec<u32>> = [
            [2, 2, 1], // copied: 7 from 2; from 2; key outside the span
            [3, 2, 0], // 8 from 3; key 2 holds 7, not 8
            [4, 2, 0], // 7 from 4; 7 from 2 again
            [1, 1, 1], // 6 stands outside the span
            [6, 2, 9], // a key among the generated tokens; 7 from 2 again
        ]
        .map(Vec::from)
        .to_vec();
        let scores = |form| score(form, 3, &prompt, Some(&span), &generated, &probes);
        let third = 1.0 / 3.0;
        assert_eq!(scores(ScoreForm::Script), [third + third + third, third + third + third, 0.0]);
        assert_eq!(scores(ScoreForm::Set), [1.0, 0.5, 0.0]);
        assert_eq!(score(ScoreForm::Script, 3, &prompt, None, &generated, &probes), [0.0; 3]);
        // A span that reaches past the prompt's end.
        let tail = 4..8;
        let past = score(ScoreForm::Set, 1, &prompt, Some(&tail), &[9], &[vec![5]]);
        assert_eq!(past, [0.5]);
        assert_eq!(score(ScoreForm::Script, 1, &prompt, Some(&tail), &[9], &[vec![7]]), [0.0]);
    }
}
