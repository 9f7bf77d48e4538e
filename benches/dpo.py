#!/usr/bin/env python3
"""DPO on the same pairs, in the same order and with the same optimiser: this program beside TRL, in f32 and in bf16.

Each runs in a process of its own, one after the other; the highest memory of each process is what the system counted.
retmask's time is given twice: that of the stage `reference-logprobs` (a process of its own, with its reading of the model)
and of all optimiser steps, which is the work that TRL does; and that of everything, with the margins of all pairs after
training, three readings of the model and the written checkpoint. TRL's time is that of `DPOTrainer.train` alone, which
computes the reference model's log-probabilities in every step. In bf16, TRL's weights, gradients and moments are bf16
(AdamW as torch has it); retmask's are f32, and its products bf16.

    benches/dpo.py target/release/retmask data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf pairs.jsonl
Needs Python with torch, transformers and trl; `pairs.jsonl` holds prompt, chosen and rejected as lists of messages.
"""

import argparse
import datetime
import glob
import json
import os
import re
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
    with: {{numerics: {numerics}}}
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
      numerics: {numerics}
"""
RATE = 1e-6


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retmask")
    parser.add_argument("model")
    parser.add_argument("pairs")
    parser.add_argument("--count", type=int, default=16, help="pairs to train on")
    parser.add_argument("--batch", type=int, default=2, help="pairs a step")
    parser.add_argument("--classes", default="f32,bf16", help="classes of arithmetic")
    parser.add_argument("--trl", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--dtype", help=argparse.SUPPRESS)
    parser.add_argument("--own", metavar="FOLDER", help=argparse.SUPPRESS)
    return parser.parse_args()


def of_trl(options):
    """Trains with TRL, in this process; prints what it measured."""
    import datasets
    import torch
    import transformers
    import trl

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    transformers.set_seed(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, options.dtype))
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
        bf16=options.dtype == "bfloat16",
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


def run(command):
    """What it said, and how long it took."""
    began = time.monotonic()
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return answer, time.monotonic() - began


def of_retmask(options):
    """Trains with retmask, in children of this process; prints what it measured."""
    place = lambda name: os.path.join(options.own, name)
    program = [os.path.abspath(options.retmask)]
    rest = [place(f"{options.dtype}.yaml"), "--cache", place(f"cache-{options.dtype}")]
    _, reference = run([*program, "run", *rest, "--only", "reference"])
    _, training = run([*program, "run", *rest])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    shown, _ = run([*program, "--json", "show", "dpo.metrics", *rest[1:]])
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    (log,) = glob.glob(os.path.join(rest[2], "runs", "*", "logs", "dpo.log"))
    with open(log) as file:
        lines = file.read()
    at = lambda said: datetime.datetime.fromisoformat(re.search(rf"(?m)^(\S+) {said}", lines)[1])
    found = {
        "reference": reference,
        "steps": (at(f"step {len(rows)} of ") - at("MFU is given")).total_seconds(),
        "whole": reference + training,
        "tokens": sum(row["tokens"] for row in rows),
        "peak_flops": re.search(r"MFU is given of (\d+) GFLOP/s", lines)[1],
        "mfu": [int(share) for share in re.findall(r"MFU (\d+) %", lines)],
        "losses": [row["loss"] for row in rows],
        "peak": peak,
    }
    print("RESULT " + json.dumps(found))


def measured(command):
    """What a process of this script measured, and the most memory that one used."""
    # A shell of its own, so that the highest memory is not that of an earlier child.
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    code += "print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    answer, _ = run([sys.executable, "-c", code, sys.executable, __file__, *command])
    lines = answer.stdout.splitlines()
    found = json.loads(next(line[7:] for line in lines if line.startswith("RESULT ")))
    found.setdefault("peak", int(next(line[5:] for line in lines if line.startswith("PEAK "))))
    return found


def main():
    options = arguments()
    if options.trl:
        return of_trl(options)
    if options.own:
        return of_retmask(options)
    with tempfile.TemporaryDirectory() as folder:
        place = lambda name: os.path.join(folder, name)
        with open(options.pairs) as file, open(place("pairs.jsonl"), "w") as out:
            out.writelines(line for line, _ in zip(file, range(options.count)))
        model = os.path.abspath(options.model)
        program = os.path.abspath(options.retmask)
        export = exported(program, model, folder)
        print("| | reference + steps, s | everything, s | tokens/s | peak memory |")
        print("|---|---|---|---|---|")
        for numerics in options.classes.split(","):
            with open(place(f"{numerics}.yaml"), "w") as file:
                values = {"model": model, "pairs": place("pairs.jsonl"), "rate": RATE, "batch": options.batch}
                file.write(PIPELINE.format(numerics=numerics, **values))
            own = measured([program, model, place("pairs.jsonl"), "--own", folder, "--dtype", numerics])
            trl = [program, export, place("pairs.jsonl"), "--trl", place(f"trl-{numerics}")]
            trl += ["--batch", str(options.batch), "--dtype", {"f32": "float32", "bf16": "bfloat16"}[numerics]]
            theirs = measured(trl)
            ours = own["reference"] + own["steps"]
            rate = lambda seconds: f"{own['tokens'] / seconds:.0f}"
            seconds = theirs["seconds"]
            print(f"| TRL, {numerics} | {seconds:.1f} | | {rate(seconds)} | {theirs['peak'] / 1e9:.2f} GB |")
            print(f"| retmask, {numerics} | {ours:.1f} | {own['whole']:.1f} | {rate(ours)} | {own['peak'] / 1e9:.2f} GB |")
            ratio = seconds / ours, seconds / own["whole"], theirs["peak"] / own["peak"]
            print(f"| ratio | {ratio[0]:.2f} | {ratio[1]:.2f} | | {ratio[2]:.2f} |")
            print(f"# {theirs['versions']}; reference {own['reference']:.1f} s, MFU {own['mfu']} % of {own['peak_flops']} GFLOP/s")
            print("# losses of TRL    ", " ".join(f"{loss:.4f}" for loss in theirs["losses"]))
            print("# losses of retmask", " ".join(f"{loss:.4f}" for loss in own["losses"]))


if __name__ == "__main__":
    main()
