#!/usr/bin/env python3
"""Scoring attention heads: this program beside a script on transformers, in seconds for the same trials.

retmask runs `score-heads`: 3 needles, 500, 1,000 and 2,000 tokens, 10 depths, the whole stage from reading the model to the
written result. transformers gets prompts of the same lengths and as many new tokens: the prompt by sdpa attention with a
cache, then token by token with the attention weights read and each head's strongest key found. It answers every
`--every`-th trial, and the sum is scaled to all. Whether outputs and scores are the same is a test's business
(stages/tests/real_scores.rs); here masks of the classes are compared.

    benches/scoring.py target/release/retmask data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf data/niah
Needs Python with torch and transformers.
"""

import argparse
import json
import os
import random
import subprocess
import tempfile
import time

import torch
import transformers

from peers import exported

PIPELINE = """\
version: 1
name: scoring-bench
sources:
  model: {{model: {model}}}
  needles: {{needles: {needles}}}
stages:
  scores:
    kind: score-heads
    in: {{model: model, needles: needles}}
    with: {{context-lengths: [500, 1000, 2000], depths: {{min: 0, max: 100, count: 10}}, numerics: {numerics}}}
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retmask")
    parser.add_argument("model")
    parser.add_argument("needles")
    parser.add_argument("--every", type=int, default=10)
    return parser.parse_args()


def of_retmask(options, folder, numerics):
    pipeline, cache = os.path.join(folder, f"{numerics}.yaml"), os.path.join(folder, numerics)
    with open(pipeline, "w") as file:
        model, needles = os.path.abspath(options.model), os.path.abspath(options.needles)
        file.write(PIPELINE.format(model=model, needles=needles, numerics=numerics))
    began = time.monotonic()
    subprocess.run([options.retmask, "run", pipeline, "--cache", cache], check=True, capture_output=True)
    seconds = time.monotonic() - began

    def table(address):
        shown = subprocess.run(
            [options.retmask, "--json", "show", address, "--cache", cache], check=True, capture_output=True, text=True
        )
        return [json.loads(line) for line in shown.stdout.splitlines()]

    scores = {(row["layer"], row["head"]): row["score"] for row in table("scores.scores")}
    return seconds, table("scores.trials"), scores


def of_transformers(model, trials):
    seconds = 0.0
    vocabulary = model.config.vocab_size
    for trial in trials:
        ids = [random.Random(trial["prompt_tokens"]).randrange(vocabulary) for _ in range(trial["prompt_tokens"])]
        began = time.monotonic()
        with torch.inference_mode():
            model.set_attn_implementation("sdpa")
            found = model(torch.tensor([ids]), use_cache=True, logits_to_keep=1)
            model.set_attn_implementation("eager")
            for _ in trial["output_ids"]:
                token = found.logits[0, -1].argmax()
                found = model(
                    token.view(1, 1), past_key_values=found.past_key_values, use_cache=True, output_attentions=True
                )
                for layer in found.attentions:
                    layer[0, :, -1].argmax(-1).tolist()
        seconds += time.monotonic() - began
    return seconds


def main():
    options = arguments()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        export = exported(options.retmask, options.model, folder)
        full, trials, exact = of_retmask(options, folder, "f32")
        narrow, _, rounded = of_retmask(options, folder, "bf16")
        peer = transformers.AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32)
        order = sorted(trials, key=lambda trial: trial["prompt_tokens"])
        part = order[options.every // 2 :: options.every]
        share = sum(trial["prompt_tokens"] for trial in part) / sum(trial["prompt_tokens"] for trial in trials)
        theirs = of_transformers(peer, part) / share
        tokens = sum(trial["prompt_tokens"] for trial in trials)
        print("| | seconds | prompt tokens/s | ratio |\n|---|---|---|---|")
        for name, seconds in [("transformers f32", theirs), ("retmask f32", full), ("retmask bf16", narrow)]:
            print(f"| {name} | {seconds:.1f} | {tokens / seconds:.0f} | {theirs / seconds:.2f} |")
        masks = [{head for head, score in scores.items() if score >= 0.1} for scores in (exact, rounded)]
        both, either = len(masks[0] & masks[1]), len(masks[0] | masks[1])
        largest = max(abs(score - rounded[head]) for head, score in exact.items())
        print(f"{len(trials)} trials, {len(part)} by transformers; heads at tau 0.1: f32 {len(masks[0])}, ", end="")
        print(f"bf16 {len(masks[1])}, in both {both} of {either}; largest difference of a score {largest:.4f}")


if __name__ == "__main__":
    main()
