#!/usr/bin/env python3
"""Prompts, one stream and many streams: this program beside transformers and llama.cpp, on the same weights.

Prompts are read up to the logits of their last token. Streams are continued by a fixed number of tokens, sampled at
temperature 0.6, ends ignored; the rate counts new tokens from the first prompt token to the last new one, for one stream
from its first new token on. Drafts are tokens that the text so far suggests, checked several in a pass: only this program
makes them, so the row without them stands beside. Sampling pairs is every second sequence with a twentieth of the heads
masked here, and the same number of sequences without masks for the others. Measurements alternate; the table has
medians.

    benches/inference.py target/release/retmask data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf [--llama-cpp FOLDER]
Needs Python with torch and transformers, and gguf for llama.cpp (llama_cpp.py says where its library comes from).
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
    parser.add_argument("--llama-cpp", metavar="FOLDER")
    parser.add_argument("--prompts", type=int, nargs="*", default=[1024, 4096])
    parser.add_argument("--streams", type=int, default=32, help="0 leaves streams out")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-f32", action="store_true")
    return parser.parse_args()


def tokens(seed, count, vocabulary):
    return [random.Random(seed).randrange(vocabulary) for _ in range(count)]


class Retmask:
    def __init__(self, options, numerics):
        self.name, self.options, self.numerics = f"retmask {numerics}", options, numerics
        self.peak = 0.0

    def rates(self, *more):
        command = [self.options.retmask, "--json", "model", "speed", "--model", self.options.model, "--rounds", "1"]
        command += ["--numerics", self.numerics, "--new-tokens", str(self.options.new_tokens)]
        command += ["--prompt-tokens", str(self.options.prompt_tokens), *more]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        self.peak = max(self.peak, answer["product_flops_per_second"])
        return [line["tokens_per_second"] for line in answer["measured"]]

    def prompt(self, count):
        return self.rates("--prompts", str(count), "--streams")[0]

    def one_stream(self):
        return self.rates("--prompts", "--streams", "1")[0]

    def token_by_token(self):
        return self.rates("--prompts", "--streams", "1", "--no-drafts")[0]

    def streams(self, count):
        return self.rates("--prompts", "--streams", str(count), "--paired")[0]


class Transformers:
    def __init__(self, options, folder, name, dtype):
        self.name, self.options = f"transformers {name}", options
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        self.vocabulary = self.model.config.vocab_size

    def prompt(self, count):
        ids = torch.tensor([tokens(count, count, self.vocabulary)])
        began = time.monotonic()
        with torch.inference_mode():
            self.model(ids, use_cache=True, logits_to_keep=1).logits[0, -1].argmax().item()
        return count / (time.monotonic() - began)

    def generate(self, sequences, new):
        prompts = [tokens(index, self.options.prompt_tokens, self.vocabulary) for index in range(sequences)]
        ids = torch.tensor(prompts)
        began = time.monotonic()
        with torch.inference_mode():
            found = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=True,
                temperature=0.6,
                top_k=0,
                pad_token_id=0,
            )
        assert found.shape[1] == ids.shape[1] + new
        return time.monotonic() - began

    def one_stream(self):
        first, all_of_them = self.generate(1, 1), self.generate(1, self.options.new_tokens)
        return (self.options.new_tokens - 1) / (all_of_them - first)

    def token_by_token(self):
        return self.one_stream()

    def streams(self, count):
        return count * self.options.new_tokens / self.generate(count, self.options.new_tokens)


class Llama:
    name = "llama.cpp bf16"

    def __init__(self, options, model, vocabulary):
        from llama_cpp import LlamaCpp

        self.options, self.vocabulary = options, vocabulary
        threads = len(os.sched_getaffinity(0))
        room = options.prompt_tokens + options.new_tokens + 8
        self.long = LlamaCpp(options.llama_cpp, model, threads, 1, max(options.prompts + [room]) + 8)
        self.many = LlamaCpp(options.llama_cpp, model, threads, max(1, options.streams), room)

    def prompt(self, count):
        return count / self.long.prompt(tokens(count, count, self.vocabulary))

    def prompts(self, count):
        return [tokens(index, self.options.prompt_tokens, self.vocabulary) for index in range(count)]

    def one_stream(self):
        new = self.options.new_tokens
        return (new - 1) / self.long.continued(self.prompts(1), new, 1)[1]

    def token_by_token(self):
        return self.one_stream()

    def streams(self, count):
        new = self.options.new_tokens
        return count * new / self.many.continued(self.prompts(count), new, count)[0]


def bf16_gguf(source, target):
    """The model's weights as bf16 in a GGUF file; matrices only, as llama.cpp's own conversion does."""
    import gguf
    import numpy

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    skipped = ("general.architecture", "general.file_type", "general.quantization_version")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in skipped:
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(name, field.contents())
        else:
            writer.add_key_value(name, field.contents(), field.types[0])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values)
        else:
            narrow = gguf.GGMLQuantizationType.BF16
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, narrow), raw_dtype=narrow)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    options = arguments()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    print(f"{threads} threads, torch {torch.__version__}, transformers {transformers.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        export = exported(options.retmask, options.model, folder)
        classes = [("bf16", torch.bfloat16)] + ([] if options.no_f32 else [("f32", torch.float32)])
        peers = []
        for name, dtype in classes:
            peers += [Retmask(options, name), Transformers(options, export, name, dtype)]
        if options.llama_cpp:
            model = os.path.join(folder, "bf16.gguf")
            bf16_gguf(options.model, model)
            peers.append(Llama(options, model, peers[1].vocabulary))
        jobs = [(f"prompt of {count:,}", lambda peer, count=count: peer.prompt(count)) for count in options.prompts]
        if options.streams:
            jobs.append(("one stream, token by token", lambda peer: peer.token_by_token()))
            jobs.append(("one stream; here with drafts", lambda peer: peer.one_stream()))
            jobs.append((f"{options.streams} streams, paired", lambda peer: peer.streams(options.streams)))
        print("| tokens/s | " + " | ".join(peer.name for peer in peers) + " |")
        print("|---|" + "---|" * len(peers))
        for name, job in jobs:
            rates = {peer.name: [] for peer in peers}
            for _ in range(options.rounds):
                for peer in peers:
                    rates[peer.name].append(job(peer))
            cells = " | ".join(f"{statistics.median(rates[peer.name]):.0f}" for peer in peers)
            print(f"| {name} | {cells} |", flush=True)
        for peer in peers:
            if isinstance(peer, Retmask):
                print(f"{peer.name}: products alone {peer.peak / 1e9:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
