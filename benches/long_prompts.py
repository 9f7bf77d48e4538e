#!/usr/bin/env python3
"""Long prompts: time, operations and memory by length, on a model's own window and on random weights of SmolLM2-135M's
shape with a window of 131,072 tokens.

A prompt is read up to the logits of its last token. Operations are those of `retmask model speed`: matrix products and
the visible part of attention. Memory is the peak of the process; what `retmask model info` states is weights, keys and
values.

    benches/long_prompts.py target/release/retmask data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
Needs Python with numpy.
"""

import argparse
import json
import os
import subprocess
import tempfile

import numpy

LAYERS, HIDDEN, INNER, HEADS, KEY_VALUE_HEADS, HEAD_DIM, VOCABULARY = 30, 576, 1536, 9, 3, 64, 49152
WINDOW = 131072


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retmask")
    parser.add_argument("model")
    parser.add_argument("--own", type=int, nargs="*", default=[1024, 4096, 8192])
    parser.add_argument("--random", type=int, nargs="*", default=[4096, 8192, 16384, 32768])
    parser.add_argument("--numerics", default="bf16")
    return parser.parse_args()


def tensors():
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        yield at + "self_attn.q_proj.weight", (HEADS * HEAD_DIM, HIDDEN)
        yield at + "self_attn.k_proj.weight", (KEY_VALUE_HEADS * HEAD_DIM, HIDDEN)
        yield at + "self_attn.v_proj.weight", (KEY_VALUE_HEADS * HEAD_DIM, HIDDEN)
        yield at + "self_attn.o_proj.weight", (HIDDEN, HEADS * HEAD_DIM)
        yield at + "mlp.gate_proj.weight", (INNER, HIDDEN)
        yield at + "mlp.up_proj.weight", (INNER, HIDDEN)
        yield at + "mlp.down_proj.weight", (HIDDEN, INNER)
        yield at + "input_layernorm.weight", (HIDDEN,)
        yield at + "post_attention_layernorm.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)


def random_model(folder):
    """A Llama of random weights in bf16, norms 1."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": WINDOW,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
    }
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    header, end = {}, 0
    for name, shape in tensors():
        size = 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    random = numpy.random.default_rng(1)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape in tensors():
            values = numpy.ones(shape, numpy.float32)
            if len(shape) == 2:
                values = random.normal(0, 0.02, shape).astype(numpy.float32)
            file.write((values.view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes())


def measured(options, model, tokens):
    """Seconds and operations a second of a prompt, and the peak memory of the process in bytes."""
    command = [options.retmask, "--json", "model", "speed", "--model", model, "--rounds", "1"]
    command += ["--numerics", options.numerics, "--prompts", str(tokens), "--streams"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        answer = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} failed"
    line = answer["measured"][0]
    return line["seconds"], line["flops_per_second"], usage.ru_maxrss * 1024


def stated(options, model, tokens):
    """Weights, and keys and values of one sequence, in bytes."""
    command = [options.retmask, "--json", "model", "info", "--model", model, "--numerics", options.numerics]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    fits = {fit["tokens"]: fit["key_value_bytes"] for fit in answer["fits"]}
    return answer["weight_bytes_in_memory"], fits.get(tokens)


def table(options, name, model, lengths):
    for tokens in lengths:
        seconds, rate, peak = measured(options, model, tokens)
        weights, key_values = stated(options, model, tokens)
        of_text = "" if key_values is None else f"{(weights + key_values) / 2**20:.0f}"
        operations = seconds * rate
        print(
            f"| {name} | {tokens:,} | {seconds:.1f} | {tokens / seconds:.0f} | {operations / 1e12:.1f} "
            f"| {rate / 1e9:.0f} | {peak / 2**20:.0f} | {of_text} |",
            flush=True,
        )


def main():
    options = arguments()
    print("| model | tokens | seconds | tokens/s | TFLOP | GFLOP/s | peak MiB | weights, keys and values MiB |")
    print("|---|---|---|---|---|---|---|---|")
    table(options, "SmolLM2", options.model, options.own)
    with tempfile.TemporaryDirectory() as folder:
        random_model(folder)
        table(options, "random", folder, options.random)


if __name__ == "__main__":
    main()
