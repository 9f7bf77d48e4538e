#!/usr/bin/env python3
"""The engine beside make, DVC and Snakemake, on stages that do nothing but copy a file of 64 bytes.

    cargo build --release
    python3 benches/engine.py                  # all shapes and tools; makes a virtual environment for DVC and Snakemake
    python3 benches/engine.py --tools retmask make --runs 9

Shapes: `chain5`, one chain of 5 stages; `sweep200`, 40 chains of 5; `chain200`, one chain of 200. For each tool: the first
run, a run with nothing to do, and what it offers to say what a run would do. One stage at a time everywhere. Times are the
median of the runs after one that is not counted (of the first run: of runs in fresh folders); memory is the largest
resident set of any process of the tree.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {"chain5": (1, 5), "sweep200": (40, 5), "chain200": (1, 200)}
PACKAGES = ["dvc==3.67.1", "snakemake==9.27.1"]


def stages(shape):
    """Every stage of a shape as (name, the name of the stage it reads or None)."""
    chains, length = SHAPES[shape]
    for chain in range(chains):
        for step in range(length):
            yield f"s{chain}-{step}", f"s{chain}-{step - 1}" if step else None


class Make:
    name = "make"
    files = ("Makefile",)

    def __init__(self, _arguments):
        self.first = self.again = ["make", "-s"]
        self.plan = ["make", "-n"]

    def version(self):
        return subprocess.run(["make", "--version"], capture_output=True, text=True).stdout.splitlines()[0]

    def write(self, folder, shape):
        names = [name for name, _ in stages(shape)]
        lines = ["all: " + " ".join(f"{name}.txt" for name in names)]
        for name, source in stages(shape):
            lines.append(f"{name}.txt: {source or 'input'}.txt\n\tcp $< $@")
        (folder / "Makefile").write_text("\n".join(lines) + "\n")


class Dvc:
    name = "DVC"

    def __init__(self, arguments):
        self.program = str(arguments.venv / "bin/dvc")
        self.first = self.again = [self.program, "repro", "-q"]
        self.plan = [self.program, "status", "-q"]

    def version(self):
        return "DVC " + subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.strip()

    def write(self, folder, shape):
        subprocess.run([self.program, "init", "-q", "--no-scm"], cwd=folder, check=True)
        subprocess.run([self.program, "config", "core.analytics", "false"], cwd=folder, check=True)
        lines = ["stages:"]
        for name, source in stages(shape):
            source = source or "input"
            lines.append(f"  {name}:\n    cmd: cp {source}.txt {name}.txt\n    deps: [{source}.txt]\n    outs: [{name}.txt]")
        (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")


class Snakemake:
    name = "Snakemake"

    def __init__(self, arguments):
        self.program = str(arguments.venv / "bin/snakemake")
        self.first = self.again = [self.program, "--cores", "1", "--quiet", "all"]
        self.plan = [self.program, "--cores", "1", "--quiet", "all", "-n"]

    def version(self):
        return "Snakemake " + subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.strip()

    def write(self, folder, shape):
        names = [name for name, _ in stages(shape)]
        lines = ["rule all:\n    input: " + repr([f"{name}.txt" for name in names])]
        for name, source in stages(shape):
            rule = name.replace("-", "_")
            lines.append(
                f"rule {rule}:\n    input: {source or 'input'!r} + '.txt'\n    output: '{name}.txt'\n"
                f"    shell: 'cp {{input}} {{output}}'"
            )
        (folder / "Snakefile").write_text("\n\n".join(lines) + "\n")


class Retmask:
    name = "retmask"

    def __init__(self, arguments):
        self.program = str(arguments.program)
        self.first = self.again = [self.program, "run", "pipeline.yaml", "--quiet", "--cpus", "1"]
        self.plan = [self.program, "plan", "pipeline.yaml", "--quiet"]

    def version(self):
        return subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.strip()

    def write(self, folder, shape):
        lines = ["version: 1", "name: bench", "sources: {input: {file: input.txt}}", "stages:"]
        for name, source in stages(shape):
            lines.append(
                # Stages that differ in nothing would be made once.
                f"  {name}:\n    kind: command\n    in: {{from: {source or 'input'}}}\n    with:\n      program: cp\n"
                f"      environment: {{STAGE: {name}}}\n"
                f"      arguments: ['{{in.from}}', '{{out.to}}']\n      outputs: {{to: retmask/file;v1}}\n"
                f"    resources: {{cpus: 1}}"
            )
        (folder / "pipeline.yaml").write_text("\n".join(lines) + "\n")


TOOLS = {tool.name.lower(): tool for tool in (Retmask, Make, Dvc, Snakemake)}


def measure(command, folder):
    """Wall seconds, CPU seconds and peak resident MiB of a command and all it starts."""
    environment = dict(os.environ, RETMASK_CACHE=str(folder / "cache"), DVC_NO_ANALYTICS="1", PYTHONWARNINGS="ignore")
    with open(folder / "said.txt", "wb") as said:
        began = time.perf_counter()
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{(folder / 'said.txt').read_text()[-2000:]}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def bench(tool, shape, runs, first_runs, scratch):
    """Medians by what was measured."""
    results = {}
    first = []
    for attempt in range(first_runs):
        folder = scratch / f"{tool.name}-{shape}-{attempt}"
        folder.mkdir()
        (folder / "input.txt").write_text("x" * 63 + "\n")
        tool.write(folder, shape)
        first.append(measure(tool.first, folder))
    results["first"] = first
    for what, command in (("no-op", tool.again), ("plan", tool.plan)):
        measure(command, folder)
        results[what] = [measure(command, folder) for _ in range(runs)]
    return {what: [statistics.median(column) for column in zip(*rows)] for what, rows in results.items()}


def environment(venv):
    """A virtual environment with the tools that are Python packages."""
    if not (venv / "bin/dvc").exists() or not (venv / "bin/snakemake").exists():
        print(f"installing {' and '.join(PACKAGES)} into {venv}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", *PACKAGES], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--first-runs", type=int, default=1)
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/retmask")
    parser.add_argument("--venv", type=Path, default=ROOT / "target/bench-engine")
    parser.add_argument("--scratch", type=Path, help="a folder on the disk to measure on; else the system's for temporary files")
    arguments = parser.parse_args()
    arguments.program, arguments.venv = arguments.program.resolve(), arguments.venv.absolute()
    if {"dvc", "snakemake"} & set(arguments.tools):
        environment(arguments.venv)
    tools = [TOOLS[name](arguments) for name in arguments.tools]
    for tool in tools:
        print(f"{tool.name}: {tool.version()}", file=sys.stderr)
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {load:.1f} at the start\n")
    print("| shape | tool | first run | per stage | no-op, wall / CPU | plan, wall / CPU | peak memory, no-op |")
    print("|---|---|---|---|---|---|---|")
    scratch = Path(tempfile.mkdtemp(prefix="bench-engine-", dir=arguments.scratch))
    try:
        for shape in arguments.shapes:
            count = len(list(stages(shape)))
            for tool in tools:
                found = bench(tool, shape, arguments.runs, arguments.first_runs, scratch)
                seconds = lambda what: f"{found[what][0]:.3f} / {found[what][1]:.3f} s"
                first = found["first"][0]
                print(
                    f"| {shape} | {tool.name} | {first:.2f} s | {1000 * first / count:.1f} ms | {seconds('no-op')} "
                    f"| {seconds('plan')} | {found['no-op'][2]:.0f} MiB |",
                    flush=True,
                )
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
