#!/usr/bin/env python3
"""DPO on the same pairs, in the same order and with the same optimiser: this program beside TRL, both in f32.

Each runs in a process of its own, one after the other; the highest memory of each process is what the system counted.
retmask's time is that of the whole run: reading the model, log-probabilities under the reference model, all steps, the
margins of all pairs before and after, and writing the checkpoint. TRL's is that of `DPOTrainer.train` alone, which
computes the reference model's log-probabilities in every step.

    benches/dpo.py target/release/retmask data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf pairs.jsonl
Needs Python with torch, transformers and trl; `pairs.jsonl` holds prompt, chosen and rejected as lists of messages.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from peers import exported

PIPELINE = """\
version: 1
name: dpo-bench
sources:
  model: {{model: {model}}}
  pairs: {{preference-set: {pairs}}}
stages:
  reference:
    kind: reference-logprobs
    in: {{model: model, pairs: pairs}}
  dpo:
    kind: dpo
    in: {{model: model, pairs: pairs, reference: reference}}
    with:
      learning-rate: {rate}
      schedule: constant
      warmup-ratio: 0
      weight-decay: 0
      epochs: 1
      adam-beta2: 0.999
      batch-pairs: {batch}
      micro-batch-pairs: {batch}
      shuffle: false
      checkpoint: f32
"""
RATE = 1e-6


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retmask")
    parser.add_argument("model")
    parser.add_argument("pairs")
    parser.add_argument("--count", type=int, default=16, help="pairs to train on")
    parser.add_argument("--batch", type=int, default=2, help="pairs a step")
    parser.add_argument("--trl", metavar="FOLDER", help=argparse.SUPPRESS)
    return parser.parse_args()


def of_trl(options):
    """Trains with TRL, in this process; prints what it measured."""
    import datasets
    import torch
    import transformers
    import trl

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    transformers.set_seed(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    with open(options.pairs) as file:
        rows = [json.loads(line) for line in file]
    settings = trl.DPOConfig(
        output_dir=options.trl,
        per_device_train_batch_size=options.batch,
        gradient_accumulation_steps=1,
        num_train_epochs=1,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        beta=0.1,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        save_strategy="no",
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=0,
    )
    trainer = trl.DPOTrainer(
        model=model, args=settings, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer
    )
    trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    versions = f"trl {trl.__version__}, torch {torch.__version__}, transformers {transformers.__version__}"
    print("RESULT " + json.dumps({"seconds": seconds, "losses": losses, "versions": versions}))


def run(command, **more):
    """Output, seconds, and the most memory in bytes of any process so far below this one."""
    began = time.monotonic()
    answer = subprocess.run(command, check=True, capture_output=True, text=True, **more)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return answer.stdout, time.monotonic() - began, peak


def main():
    options = arguments()
    if options.trl:
        return of_trl(options)
    with tempfile.TemporaryDirectory() as folder:
        place = lambda name: os.path.join(folder, name)
        with open(options.pairs) as file, open(place("pairs.jsonl"), "w") as out:
            out.writelines(line for line, _ in zip(file, range(options.count)))
        with open(place("dpo.yaml"), "w") as file:
            model = os.path.abspath(options.model)
            file.write(PIPELINE.format(model=model, pairs=place("pairs.jsonl"), rate=RATE, batch=options.batch))
        # The smaller one first, since the system keeps the highest of all children.
        program = os.path.abspath(options.retmask)
        _, ours, our_peak = run([program, "run", place("dpo.yaml"), "--cache", place("cache")])
        shown, _, _ = run([program, "--json", "show", "dpo.metrics", "--cache", place("cache")])
        export = exported(program, model, folder)
        command = [sys.executable, __file__, program, export, place("pairs.jsonl"), "--trl", place("trl")]
        command += ["--batch", str(options.batch)]
        output, _, their_peak = run(command)
        theirs = json.loads(next(line[7:] for line in output.splitlines() if line.startswith("RESULT ")))
        print(theirs["versions"])
        print("losses of TRL    ", " ".join(f"{loss:.4f}" for loss in theirs["losses"]))
        losses = [json.loads(line)["loss"] for line in shown.splitlines()]
        print("losses of retmask", " ".join(f"{loss:.4f}" for loss in losses))
        print("| | seconds | peak memory |")
        print("|---|---|---|")
        print(f"| TRL, f32 | {theirs['seconds']:.1f} | {their_peak / 1e9:.2f} GB |")
        print(f"| retmask, f32 | {ours:.1f} | {our_peak / 1e9:.2f} GB |")
        print(f"| ratio | {theirs['seconds'] / ours:.2f} | {their_peak / our_peak:.2f} |")


if __name__ == "__main__":
    main()
