"""llama.cpp by its C interface, as a peer of the measurements beside it.

The library comes from the npm package @node-llama-cpp/linux-x64, whose binaries choose the kernels of the processor
they run on (`npm pack @node-llama-cpp/linux-x64 && tar xzf *.tgz`; the folder package/bins/linux-x64). Parameters are
passed in blocks larger than any version's, of which the first fields, the same in all versions, are set.
"""

import ctypes
import glob
import os
import time
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_uint32, c_void_p


class Parameters(ctypes.Structure):
    """The parameters of a context: sizes first, the rest as the library fills it."""

    _fields_ = [(name, c_uint32) for name in ("context", "batch", "physical_batch", "sequences")] + [
        ("rest", c_int8 * 2032)
    ]


class ModelParameters(ctypes.Structure):
    _fields_ = [("rest", c_int8 * 2048)]


class ChainParameters(ctypes.Structure):
    _fields_ = [("no_performance_counters", c_bool)]


class Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


class LlamaCpp:
    """A model of llama.cpp on `threads` threads, with room for `sequences` sequences of `length` tokens."""

    def __init__(self, folder, model, threads, sequences, length, batch=2048, physical_batch=512):
        self.library = self._library(folder)
        llama = self.library
        llama.llama_backend_init()
        parameters = llama.llama_model_default_params()
        self.model = llama.llama_model_load_from_file(model.encode(), parameters)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {model}")
        context = llama.llama_context_default_params()
        context.context, context.sequences = sequences * length, sequences
        context.batch, context.physical_batch = batch, physical_batch
        self.context = llama.llama_init_from_model(self.model, context)
        if not self.context:
            raise SystemExit("llama.cpp cannot make a context")
        llama.llama_set_n_threads(self.context, threads, threads)
        # A small context makes it smaller than was asked for.
        self.batch_size = llama.llama_n_batch(self.context)
        self.batch = llama.llama_batch_init(self.batch_size, 0, 1)
        # What was asked for is what there is.
        assert llama.llama_n_seq_max(self.context) == sequences, llama.llama_n_seq_max(self.context)
        assert llama.llama_n_ctx(self.context) >= sequences * length, llama.llama_n_ctx(self.context)
        assert self.batch_size <= batch and llama.llama_n_ubatch(self.context) <= physical_batch

    @staticmethod
    def _library(folder):
        ctypes.CDLL(os.path.join(folder, "libggml-base.so"), ctypes.RTLD_GLOBAL)
        (ggml,) = glob.glob(os.path.join(folder, "libggml.v*.so")) or [os.path.join(folder, "libggml.so")]
        ggml = ctypes.CDLL(ggml, ctypes.RTLD_GLOBAL)
        ggml.ggml_backend_load_all_from_path.argtypes = [c_char_p]
        ggml.ggml_backend_load_all_from_path(folder.encode())
        (name,) = glob.glob(os.path.join(folder, "libllama.v*.so")) or [os.path.join(folder, "libllama.so")]
        llama = ctypes.CDLL(name)
        quiet = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)(lambda level, text, data: None)
        llama.quiet = quiet
        llama.llama_log_set(quiet, None)
        for function, result, arguments in [
            ("llama_model_default_params", ModelParameters, []),
            ("llama_model_load_from_file", c_void_p, [c_char_p, ModelParameters]),
            ("llama_context_default_params", Parameters, []),
            ("llama_init_from_model", c_void_p, [c_void_p, Parameters]),
            ("llama_set_n_threads", None, [c_void_p, c_int32, c_int32]),
            ("llama_n_seq_max", c_uint32, [c_void_p]),
            ("llama_n_ctx", c_uint32, [c_void_p]),
            ("llama_n_batch", c_uint32, [c_void_p]),
            ("llama_n_ubatch", c_uint32, [c_void_p]),
            ("llama_batch_init", Batch, [c_int32, c_int32, c_int32]),
            ("llama_decode", c_int32, [c_void_p, Batch]),
            ("llama_get_memory", c_void_p, [c_void_p]),
            ("llama_memory_clear", None, [c_void_p, c_bool]),
            ("llama_memory_seq_rm", c_bool, [c_void_p, c_int32, c_int32, c_int32]),
            ("llama_sampler_chain_default_params", ChainParameters, []),
            ("llama_sampler_chain_init", c_void_p, [ChainParameters]),
            ("llama_sampler_chain_add", None, [c_void_p, c_void_p]),
            ("llama_sampler_init_temp", c_void_p, [c_float]),
            ("llama_sampler_init_dist", c_void_p, [c_uint32]),
            ("llama_sampler_sample", c_int32, [c_void_p, c_void_p, c_int32]),
            ("llama_synchronize", None, [c_void_p]),
        ]:
            found = getattr(llama, function)
            found.restype, found.argtypes = result, arguments
        return llama

    def clear(self):
        self.library.llama_memory_clear(self.library.llama_get_memory(self.context), True)

    def _pass(self, rows):
        """One batch of (token, position, sequence, whether logits are wanted)."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for place, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[place], batch.pos[place], batch.n_seq_id[place] = token, position, 1
            batch.seq_id[place][0], batch.logits[place] = sequence, wanted
        status = self.library.llama_decode(self.context, batch)
        if status != 0:
            raise SystemExit(f"llama_decode answers {status}")

    def prompt(self, tokens):
        """Seconds until the logits of the last token are there."""
        self.clear()
        began = time.monotonic()
        for first in range(0, len(tokens), self.batch_size):
            part = tokens[first : first + self.batch_size]
            last = len(tokens) - 1
            self._pass([(token, first + i, 0, first + i == last) for i, token in enumerate(part)])
        self.library.llama_synchronize(self.context)
        return time.monotonic() - began

    def continued(self, prompts, new_tokens, streams, temperature=0.6):
        """Seconds from the first prompt token to the last new one, and from the first new one; `streams` sequences
        at once, the place of one that is done taken by the next."""
        llama = self.library
        self.clear()
        waiting = list(enumerate(prompts))[::-1]
        samplers, running, first_token = {}, {}, None
        began = time.monotonic()
        while waiting or running:
            rows, sampled = [], []
            for place, state in running.items():
                rows.append((state["token"], state["position"], place, True))
                sampled.append((place, len(rows) - 1))
                state["position"] += 1
            for place in range(streams):
                # As many prompts as the batch has room for join the sequences that run.
                if place not in running and waiting and len(rows) + len(waiting[-1][1]) <= self.batch_size:
                    index, prompt = waiting.pop()
                    llama.llama_memory_seq_rm(llama.llama_get_memory(self.context), place, -1, -1)
                    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
                    llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_temp(temperature))
                    llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_dist(index))
                    samplers[place] = chain
                    last = len(prompt) - 1
                    rows.extend((token, i, place, i == last) for i, token in enumerate(prompt))
                    sampled.append((place, len(rows) - 1))
                    running[place] = {"position": len(prompt), "left": new_tokens}
            self._pass(rows)
            for place, row in sampled:
                running[place]["token"] = llama.llama_sampler_sample(samplers[place], self.context, row)
                running[place]["left"] -= 1
                if running[place]["left"] == 0:
                    del running[place]
            first_token = first_token or time.monotonic()
        ended = time.monotonic()
        return ended - began, ended - first_token
