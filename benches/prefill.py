#!/usr/bin/env python3
"""Log-probabilities of every token of long texts: this program beside Hugging Face transformers.

Both get the same tokens and the same weights (transformers reads what `retmask model export` writes) and answer with
the log-probability of every next token. Runs alternate; the table has medians. Loading is taken off: for transformers
it is outside the clock, for retmask a run on four tokens is subtracted.

    benches/prefill.py target/release/retmask data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
Needs Python with torch and transformers.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
import time

import torch
import transformers

from peers import exported


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retmask")
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def retmask_seconds(options, ids, numerics, folder):
    path = os.path.join(folder, "ids.json")
    with open(path, "w") as file:
        json.dump([ids], file)
    command = [options.retmask, "model", "logprobs", "--model", options.model, "--ids", path, "--numerics", numerics]
    began = time.monotonic()
    answer = subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - began, json.loads(answer.stdout)[0]


def transformers_seconds(model, ids):
    tokens = torch.tensor([ids])
    began = time.monotonic()
    with torch.inference_mode():
        logits = model(tokens, use_cache=False).logits[0, :-1].float()
        chosen = torch.log_softmax(logits, -1).gather(1, tokens[0, 1:, None])[:, 0]
    return time.monotonic() - began, chosen.tolist()


def main():
    options = arguments()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    print(f"{threads} threads, torch {torch.__version__}, transformers {transformers.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        export = exported(options.retmask, options.model, folder)
        peers = {
            name: transformers.AutoModelForCausalLM.from_pretrained(export, dtype=dtype)
            for name, dtype in [("f32", torch.float32), ("bf16", torch.bfloat16)]
        }
        vocabulary = peers["f32"].config.vocab_size
        print("| tokens | class | transformers tok/s | retmask tok/s | ratio | largest difference |")
        print("|---|---|---|---|---|---|")
        for count in options.tokens:
            ids = [random.Random(count).randrange(vocabulary) for _ in range(count)]
            for numerics, peer in peers.items():
                ours, theirs, differences = [], [], []
                for _ in range(options.rounds):
                    load, _ = retmask_seconds(options, ids[:4], numerics, folder)
                    seconds, found = retmask_seconds(options, ids, numerics, folder)
                    ours.append(seconds - load)
                    seconds, expected = transformers_seconds(peer, ids)
                    theirs.append(seconds)
                    differences.append(max(abs(left - right) for left, right in zip(found, expected)))
                ours, theirs = statistics.median(ours), statistics.median(theirs)
                print(
                    f"| {count} | {numerics} | {count / theirs:.0f} | {count / ours:.0f} | {theirs / ours:.2f} "
                    f"| {max(differences):.1e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
