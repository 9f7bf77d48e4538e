//! From scores to a set of heads.

use retmask_model::heads::{Head, HeadMask};
use retmask_model::random::Stream;

use super::{Parameters, Select, Variant};
use crate::artifact::head_scores::HeadScores;

/// Why there is no mask, and what would give one.
#[derive(Debug)]
pub struct Refusal {
    pub problem: String,
    pub hint: String,
}

/// The mask these parameters ask for.
///
/// # Errors
/// When the scores rest on no trial, the mask would be empty, or it would need more heads than there are.
pub fn choose(scores: &HeadScores, parameters: &Parameters) -> Result<HeadMask, Refusal> {
    if scores.counted() == 0 {
        return Err(Refusal {
            problem: "no trial counted, so no head has a score to choose it by".into(),
            hint:
                "score the heads on trials the model can answer (shorter contexts, other needles, its own prompt form)"
                    .into(),
        });
    }
    // Best first; of equal scores, the lower layer and head first.
    let mut ranking: Vec<(Head, f64)> = scores.iter().map(|(head, _)| head).zip(scores.means()).collect();
    ranking.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
    let retrieval = retrieval_heads(&ranking, parameters)?;
    match parameters.variant {
        Variant::Retrieval => Ok(retrieval),
        Variant::Random => draw(scores, |_| true, retrieval.len(), "random", parameters.seed),
        Variant::NonRetrieval => {
            draw(scores, |head| !retrieval.contains(head), retrieval.len(), "non-retrieval", parameters.seed)
        }
    }
}

fn retrieval_heads(ranking: &[(Head, f64)], parameters: &Parameters) -> Result<HeadMask, Refusal> {
    let best = ranking.first().map_or(0.0, |(_, score)| *score);
    match parameters.select {
        Select::Threshold => {
            let mask: HeadMask =
                ranking.iter().filter(|(_, score)| *score >= parameters.tau).map(|(head, _)| *head).collect();
            if mask.is_empty() {
                return Err(Refusal {
                    problem: format!(
                        "the mask would be empty: no head scores {} or more (the best has {best:.4})",
                        parameters.tau
                    ),
                    hint: format!("set `tau` to at most {best:.4}, or choose by `select: top-k`"),
                });
            }
            Ok(mask)
        }
        Select::TopK => {
            // Heads at 0 are all alike: which of them came first would say nothing about retrieval.
            let pool = ranking.iter().filter(|(_, score)| *score > 0.0).count();
            let count = parameters.count.unwrap_or(0) as usize;
            if count == 0 || count > pool {
                return Err(Refusal {
                    problem: format!(
                        "`count: {count}` heads were asked for, but {pool} of {} heads score above 0",
                        ranking.len()
                    ),
                    hint: format!("set `count` to a number from 1 to {pool}"),
                });
            }
            Ok(ranking[..count].iter().map(|(head, _)| *head).collect())
        }
    }
}

/// `count` heads drawn without replacement from those of the pool.
fn draw(
    scores: &HeadScores,
    in_pool: impl Fn(Head) -> bool,
    count: usize,
    variant: &str,
    seed: u64,
) -> Result<HeadMask, Refusal> {
    let mut pool: Vec<Head> = scores.iter().map(|(head, _)| head).filter(|head| in_pool(*head)).collect();
    if count > pool.len() {
        return Err(Refusal {
            problem: format!(
                "`variant: {variant}` needs {count} heads, as many as the retrieval mask has, but only {} of {} heads \
                 are left to draw from",
                pool.len(),
                scores.iter().len()
            ),
            hint: format!("choose at most {} retrieval heads: raise `tau` or lower `count`", scores.iter().len() / 2),
        });
    }
    let mut stream = Stream::derive(seed, &[b"build-mask", variant.as_bytes()]);
    stream.shuffle(&mut pool);
    Ok(pool.into_iter().take(count).collect())
}
