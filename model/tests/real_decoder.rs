//! The decoder on SmolLM2-135M-Instruct: bits that do not depend on batching, chunks or threads.
//!
//! Needs the GGUF file (`scripts/fetch-smollm2`; `RETMASK_SMOLLM2` names another place).

use std::path::PathBuf;

use retmask_model::checkpoint::Checkpoint;
use retmask_model::decoder::Decoder;
use retmask_model::generate::{Completion, Limits, Request, Sampling, SamplingRules, Sink, generate};
use retmask_model::heads::{Head, HeadMask};
use retmask_model::random::Stream;
use retmask_model::{ModelResult, Numerics};

fn smollm2() -> PathBuf {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    std::env::var_os("RETMASK_SMOLLM2").map_or(default, PathBuf::from)
}

#[derive(Default)]
struct Collected {
    completions: Vec<Option<Completion>>,
    tokens: usize,
}

impl Sink for Collected {
    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()> {
        if self.completions.len() <= request {
            self.completions.resize(request + 1, None);
        }
        self.completions[request] = Some(completion);
        Ok(())
    }

    fn processed(&mut self, count: usize) -> ModelResult<()> {
        self.tokens += count;
        Ok(())
    }
}

fn requests(count: usize, prompt_tokens: usize, new_tokens: usize) -> Vec<Request> {
    (0..count)
        .map(|index| {
            let mut words = Stream::derive(index as u64, &[b"prompt"]);
            Request {
                prompt: (0..prompt_tokens + index).map(|_| words.below(49_000) as u32).collect(),
                mask: (index % 2 == 1).then_some(0),
                max_new_tokens: new_tokens,
                stop_tokens: Vec::new(),
                sampling: Sampling::Random {
                    rules: SamplingRules { temperature: 0.6, top_p: 0.9, ..SamplingRules::default() },
                    stream: Stream::derive(9, &[&[index as u8]]),
                },
                probe: true,
                logit_gaps: true,
            }
        })
        .collect()
}

fn run(decoder: &Decoder, requests: &[Request], limits: &Limits) -> Vec<(Vec<u32>, Vec<Vec<u32>>, Vec<u32>)> {
    let mask: HeadMask = [Head { layer: 18, head: 6 }, Head { layer: 17, head: 3 }].into_iter().collect();
    let mut sink = Collected::default();
    generate(decoder, &[mask], requests, limits, &mut sink).expect("generation runs");
    let bits = |completion: Completion| {
        let gaps = completion.logit_gaps.iter().map(|gap| gap.to_bits()).collect();
        (completion.tokens, completion.probes, gaps)
    };
    sink.completions.into_iter().map(|completion| bits(completion.expect("every request completes"))).collect()
}

#[test]
#[ignore = "needs SmolLM2; scripts/test runs it"]
fn a_row_has_the_same_bits_in_every_batch_chunk_and_thread_count() {
    let checkpoint = Checkpoint::open(&smollm2()).expect("the model opens");
    let decoder = Decoder::load(&checkpoint, Numerics::F32).expect("the model loads");
    let requests = requests(32, 40, 6);
    let limits = |rows_per_pass, slots| Limits { rows_per_pass, slots, ..Limits::default() };
    let alone: Vec<_> =
        requests.iter().flat_map(|request| run(&decoder, std::slice::from_ref(request), &limits(512, 1))).collect();
    for (rows, slots) in [(512, 2), (512, 7), (512, 32), (17, 7), (1, 2)] {
        let some = if rows == 1 { 4 } else { requests.len() };
        assert!(run(&decoder, &requests[..some], &limits(rows, slots)) == alone[..some], "{rows} rows, {slots} slots");
    }
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
        assert!(pool.install(|| run(&decoder, &requests[..8], &limits(512, 8))) == alone[..8], "{threads} threads");
    }
}
