#!/usr/bin/env python3
"""Answers to prompts of 2,000 tokens as HELMET asks them: this program beside Hugging Face transformers.

    benches/helmet.py target/release/retmask data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

Two sets. `apart`: look-ups in JSON objects, needles among needles, and labels after demonstrations, every prompt over
texts of its own. `shared`: the same three forms, but four prompts each over one object, one text and one list of
demonstrations. Both programs get the same prompts, weights and limits (100, 50 and 20 new tokens), and take the most
probable token until the end token or the limit. transformers runs in bf16, in batches of 8 prompts of one limit, padded on
the left; retmask runs all prompts of a set as one stage, in its class of that name. A run of one short prompt is taken off
retmask's times, for start and loading; of transformers' times loading is left out. Runs alternate; medians.

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
from pathlib import Path

import torch
import transformers

from peers import exported

TOKENS = 2_000
LIMITS = {"json": 100, "needles": 50, "labels": 20}
WORDS = "mill river miller daughter sail wheel flour water stone bridge field boat rain night lamp road wind bread".split()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retmask")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--apart", type=int, default=3, help="prompts of each form that share nothing")
    parser.add_argument("--shared", type=int, default=4, help="prompts of each form over one text")
    return parser.parse_args()


def identifier(source):
    return "-".join(f"{source.getrandbits(4 * digits):0{digits}x}" for digits in (8, 4, 4, 4, 12))


def filled(count, pieces, joined):
    """As many pieces as fit the tokens, and their text."""
    taken = []
    while count(joined(taken)) < TOKENS:
        taken.append(next(pieces))
    return taken[:-1], joined(taken[:-1])


def json_prompts(source, count, questions):
    pairs = iter(lambda: (identifier(source), identifier(source)), None)
    taken, text = filled(count, pairs, lambda pairs: "JSON data:\n" + json.dumps(dict(pairs), indent=4) + "\n\n")
    asked = source.sample(taken, questions)
    return [f"{text}Find the value of the key in the JSON object above.\n\nKey: {key}\nCorresponding value:" for key, _ in asked]


def needle_prompts(source, count, questions):
    names = iter(lambda: ("-".join(source.sample(WORDS, 3)), source.randrange(10**6, 10**7)), None)
    line = lambda needle: f"One of the secret numbers for {needle[0]} is: {needle[1]}."
    head = "The text below tells the secret numbers of many names.\n"
    taken, text = filled(count, names, lambda needles: head + "\n".join(map(line, needles)))
    return [f"{text}\nWhich secret number belongs to {name}?\nThe secret number of {name} is" for name, _ in source.sample(taken, questions)]


def label_prompts(source, count, questions):
    demonstrations = iter(lambda: (" ".join(source.choices(WORDS, k=9)), source.randrange(50)), None)
    shown = lambda demonstration: f"{demonstration[0]}\nlabel: {demonstration[1]}"
    head = "Every text is followed by the number of its label.\n\n"
    _, text = filled(count, demonstrations, lambda all: head + "\n\n".join(map(shown, all)))
    return [f"{text}\n\n{' '.join(source.choices(WORDS, k=9))}\nlabel:" for _ in range(questions)]


FORMS = {"json": json_prompts, "needles": needle_prompts, "labels": label_prompts}


def prompts(tokenizer, options):
    count = lambda text: len(tokenizer(text).input_ids)
    source = random.Random(5)
    apart = {form: [make(source, count, 1)[0] for _ in range(options.apart)] for form, make in FORMS.items()}
    shared = {form: make(source, count, options.shared) for form, make in FORMS.items()}
    return {"apart": apart, "shared": shared}


def retmask_seconds(options, by_form, folder):
    """Seconds of a whole run in a fresh cache, and how many tokens were generated."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        place = Path(place)
        tasks, data, sources = {}, {}, {"model": {"model": os.path.abspath(options.model)}}
        for form, texts in by_form.items():
            rows = [{"task_id": str(row), "prompt": text, "test": "", "entry_point": "none"} for row, text in enumerate(texts)]
            (place / f"{form}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            sources[form] = {"evaluation-set": f"{form}.jsonl"}
            tasks[form] = {"type": "code", "max-new-tokens": LIMITS[form]}
            data[form] = form
        stage = {"kind": "general-eval", "in": {"model": "model", "data": data}, "with": {"tasks": tasks, "numerics": "bf16"}}
        pipeline = {"version": 1, "name": "bench", "sources": sources, "stages": {"answers": stage}}
        (place / "pipeline.yaml").write_text(json.dumps(pipeline))
        environment = dict(os.environ, RETMASK_CACHE=str(place / "cache"))
        run = lambda *command: subprocess.run(
            [os.path.abspath(options.retmask), *command], cwd=place, env=environment, check=True, capture_output=True
        )
        began = time.monotonic()
        run("run", "pipeline.yaml", "--quiet")
        seconds = time.monotonic() - began
        rows = [json.loads(line) for line in run("show", "answers.answers", "--json").stdout.splitlines()]
    return seconds, sum(row["generated_tokens"] for row in rows)


def transformers_seconds(model, tokenizer, by_form):
    seconds = generated = 0
    for form, texts in by_form.items():
        for first in range(0, len(texts), 8):
            batch = tokenizer(texts[first:first + 8], return_tensors="pt", padding=True)
            began = time.monotonic()
            with torch.inference_mode():
                answers = model.generate(**batch, max_new_tokens=LIMITS[form], do_sample=False)
            seconds += time.monotonic() - began
            new = answers[:, batch.input_ids.shape[1]:]
            generated += int((new != tokenizer.pad_token_id).sum())
    return seconds, generated


def main():
    options = arguments()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    print(f"{threads} threads, torch {torch.__version__}, transformers {transformers.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        export = exported(options.retmask, options.model, folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(export, padding_side="left")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        peer = transformers.AutoModelForCausalLM.from_pretrained(export, dtype=torch.bfloat16)
        loading = statistics.median(retmask_seconds(options, {"labels": ["a"]}, folder)[0] for _ in range(3))
        print(f"start and loading of retmask: {loading:.2f} s, taken off")
        print("| set | prompts | prompt tokens | transformers s | tokens out | retmask s | tokens out | ratio |")
        print("|---|---|---|---|---|---|---|---|")
        for name, by_form in prompts(tokenizer, options).items():
            texts = [text for all in by_form.values() for text in all]
            size = sum(len(tokenizer(text).input_ids) for text in texts)
            ours, theirs = [], []
            for _ in range(options.rounds):
                ours.append(retmask_seconds(options, by_form, folder))
                theirs.append(transformers_seconds(peer, tokenizer, by_form))
            median = lambda runs: statistics.median(seconds for seconds, _ in runs)
            own, other = median(ours) - loading, median(theirs)
            print(
                f"| {name} | {len(texts)} | {size:,} | {other:.1f} | {theirs[0][1]} | {own:.1f} | {ours[0][1]} | {other / own:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
