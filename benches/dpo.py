#!/usr/bin/env python3
"""DPO on the same pairs, in the same order and with the same optimiser: this program beside TRL, in f32 and in bf16.

Each runs in a process of its own, one after the other; the highest memory of each process is what the system counted.
TRL's time is that of `DPOTrainer.train` alone, which computes the reference model's log-probabilities in every step; its
reading of the model, its imports and its tokens come before. retmask's time is given twice: that of the same work, which
is the log-probabilities of `reference-logprobs`, in a process of its own, and all optimiser steps, without the reading
of the model in front of each, as their logs tell; and that of both processes whole, with three readings of the model, the
margins of all pairs after training and the written checkpoint. In bf16, TRL's weights, gradients and moments are bf16
(AdamW as torch has it); retmask's are f32, and its products bf16.

A virtual machine's host may take back memory that is free for a while, and touching it again is then slow, on some at a
third of a GB a second. What a process pays for that depends on what ran before it. So another process touches more memory
than the measured part needs, holds it, and lets go of all when that part begins: the log-probabilities and the steps of
retmask, TRL's `train`, and once more TRL's first update, when it makes its moments. TRL's clock stands still meanwhile.

    benches/dpo.py target/release/retmask data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf pairs.jsonl
Needs Python with torch, transformers and trl; `pairs.jsonl` holds prompt, chosen and rejected as lists of messages.
"""

import argparse
import datetime
import glob
import json
import mmap
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
# More than the peak of either.
WARM_BYTES = {"retmask": 4 << 30, "trl": 8 << 30}


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
    parser.add_argument("--touch", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def touch(count):
    """Writes to this many bytes of memory, says so, and holds it until the input ends."""
    memory = mmap.mmap(-1, count)
    memory.madvise(mmap.MADV_HUGEPAGE)
    block = b"1" * (1 << 24)
    for _ in range(count // len(block)):
        memory.write(block)
    print("touched", flush=True)
    sys.stdin.read()


class Warm:
    """Another process that holds memory, from when this is made until `release`."""

    def __init__(self, count):
        command = [sys.executable, __file__, "x", "x", "x", "--touch", str(count)]
        self.holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.holder.stdout.readline()

    def release(self):
        self.holder.communicate()


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

    class Clock(transformers.TrainerCallback):
        """When steps end, and how long the clock stood still."""

        ends, stood = [], 0.0

        def on_pre_optimizer_step(self, args, state, control, **_):
            if state.global_step == 0:
                began = time.monotonic()
                Warm(WARM_BYTES["trl"] // 2).release()
                self.stood += time.monotonic() - began

        def on_step_end(self, args, state, control, **_):
            self.ends.append(time.monotonic() - self.stood)

    clock = Clock()
    trainer = trl.DPOTrainer(
        model=model,
        args=settings,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)
    Warm(WARM_BYTES["trl"]).release()
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - clock.stood - began
    found = {
        "seconds": seconds,
        "each": [end - before for before, end in zip([began, *clock.ends], clock.ends)],
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "versions": f"trl {trl.__version__}, torch {torch.__version__}, transformers {transformers.__version__}",
        # Of this process alone.
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print("RESULT " + json.dumps(found))


def run(command, began_measuring=None, warm=None):
    """What it said, how long it took, and the most memory that it used; `warm` is released as soon as that is said."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as faults:
        began = time.monotonic()
        child = subprocess.Popen(command, stdout=out, stderr=faults)
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while warm and not began_measuring() and os.waitid(os.P_PID, child.pid, ended) is None:
            time.sleep(0.002)
        if warm:
            warm.release()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        faults.seek(0)
        if child.returncode:
            sys.exit(f"{command[0]} ended with {child.returncode}:\n{faults.read()}")
        return out.read(), seconds, usage.ru_maxrss * 1024


def of_retmask(options):
    """Trains with retmask, in children of this process; prints what it measured."""
    place = lambda name: os.path.join(options.own, name)
    program = [os.path.abspath(options.retmask)]
    rest = [place(f"{options.dtype}.yaml"), "--cache", place(f"cache-{options.dtype}")]

    def log(stage):
        """All that the stage said so far."""
        names = glob.glob(os.path.join(rest[2], "runs", "*", "logs", f"{stage}.log"))
        lines = ""
        for name in names:
            with open(name) as file:
                lines += file.read()
        return lines

    command = [*program, "run", *rest]
    held = Warm(WARM_BYTES["retmask"])
    said = lambda: "log-probabilities:" in log("reference")
    _, reference, peak = run([*command, "--only", "reference"], said, held)
    held = Warm(WARM_BYTES["retmask"])
    _, training, training_peak = run(command, lambda: "MFU is given" in log("dpo"), held)
    shown, _, _ = run([*program, "--json", "show", "dpo.metrics", *rest[1:]])
    rows = [json.loads(line) for line in shown.splitlines()]

    at = lambda lines, said: datetime.datetime.fromisoformat(re.search(rf"(?m)^(\S+) {said}", lines)[1])
    between = lambda lines, start, end: (at(lines, end) - at(lines, start)).total_seconds()
    lines = log("dpo")
    ends = ["MFU is given", *(f"step {step} of " for step in range(1, len(rows) + 1))]
    found = {
        "reference": between(log("reference"), "log-probabilities:", r"\d+ rows: \d+ reused"),
        "steps": between(lines, ends[0], ends[-1]),
        "each": [between(lines, *two) for two in zip(ends, ends[1:])],
        "whole": reference + training,
        "tokens": sum(row["tokens"] for row in rows),
        "peak_flops": re.search(r"MFU is given of (\d+) GFLOP/s", lines)[1],
        "mfu": [int(share) for share in re.findall(r"MFU (\d+) %", lines)],
        "losses": [row["loss"] for row in rows],
        "peak": max(peak, training_peak),
    }
    print("RESULT " + json.dumps(found))


def measured(command):
    """What a process of this script measured."""
    answer, _, _ = run([sys.executable, __file__, *command])
    return json.loads(next(line[7:] for line in answer.splitlines() if line.startswith("RESULT ")))


def main():
    options = arguments()
    if options.touch:
        return touch(options.touch)
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
            for name, each in ("TRL    ", theirs["each"]), ("retmask", own["each"]):
                print(f"# seconds of each step of {name}", " ".join(f"{seconds:.1f}" for seconds in each))
            print("# losses of TRL    ", " ".join(f"{loss:.4f}" for loss in theirs["losses"]))
            print("# losses of retmask", " ".join(f"{loss:.4f}" for loss in own["losses"]))


if __name__ == "__main__":
    main()
