"""Measure what neuroport's speed is held to: ``python -m benchmarks.speed [SECTION ...]``.

Ways of doing the same work are timed in turn in one process (or in processes of their own, where
memory is measured), and their ratios are stored: one set of figures per kind of processor. Every
section is stored when it is done. ``--again`` measures what is stored for this kind of processor.
``--held-to-avx2`` keeps torch, oneDNN and the kernels to AVX2 on a processor with more, in a column
of its own (training, the exact engine, one sample), so that both sides of a ratio have the same
instructions.
SpikingJelly runs in an environment of its own: give its interpreter, or its figures are left out.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from neuroport.processes import WAITING

os.environ.update(WAITING)  # as the command line does; read when torch is imported

import torch

from benchmarks.machine import commit, machine
from benchmarks.speed import inference, lava, prepared, training, waiting, whole
from benchmarks.speed.elsewhere import ROOT, Elsewhere
from benchmarks.speed.figure import Figure
from benchmarks.speed.page import write_page
from neuroport.files import read_json, write_json
from neuroport.kernels import compilation
from neuroport.kernels.compilation import instructions
from neuroport.runs.trace import versions

SECTIONS: dict[str, Callable[..., list[Figure]]] = {
    "training": training.measure,
    "waiting": waiting.measure,
    "inference": inference.measure,
    "prepared": prepared.measure,
    "verification": whole.measure_verification,
    "compilation": whole.measure_compilation,
    "start": whole.measure_start,
    "lava": lava.measure,
}
BESIDE = ("training", "inference")  # compared with another library
# what keeps torch and oneDNN to AVX2, and the sections that run in this process alone
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
HELD, HELD_SECTIONS = "held to AVX2", ("training", "inference", "prepared")


@click.command(help=__doc__)
@click.argument("sections", nargs=-1, type=click.Choice(list(SECTIONS)))
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs")
@click.option("--rounds", default=9, show_default=True, help="Turns of each comparison.")
@click.option("--again", is_flag=True, help="Measure again what is stored for this processor.")
@click.option("--held-to-avx2", is_flag=True, help="Use AVX2 at most, on x86-64.")
@click.option(
    "--spikingjelly",
    type=click.Path(path_type=Path, exists=True),
    help="Python interpreter of an environment with SpikingJelly.",
)
def main(
    sections: tuple[str, ...],
    out: Path,
    rounds: int,
    again: bool,
    held_to_avx2: bool,
    spikingjelly: Path | None,
) -> None:
    if held_to_avx2:
        hold_to_avx2()
        sections = sections or HELD_SECTIONS
        if other := set(sections).difference(HELD_SECTIONS):
            raise click.UsageError(f"{', '.join(other)} run in other processes, which are not held")
    path = out / "performance.json"
    results: dict[str, Any] = read_json(path) if path.exists() else {"machines": {}}
    kind = HELD if held_to_avx2 else instructions()
    here = results["machines"].setdefault(kind, {"machine": {}, "sections": {}})
    elsewhere = None
    for name in sections or SECTIONS:
        if name in here["sections"] and not again:
            click.echo(
                f"{name}: measured before on a processor with {kind} ({path}); to measure it "
                f"again: python -m benchmarks.speed {name} --again"
            )
            continue
        click.echo(name)
        started = time.perf_counter()
        arguments: tuple[Any, ...] = (rounds,)
        if name in BESIDE:
            if elsewhere is None:
                elsewhere = Elsewhere.run(spikingjelly, rounds, torch.get_num_threads())
            arguments = (rounds, elsewhere)
        figures = SECTIONS[name](*arguments)
        for figure in figures:
            click.echo(f"  {figure.what}: {figure.value.median:.3g} {figure.unit}")
        measured = {
            "figures": [figure.to_dict() for figure in figures],
            "rounds": rounds,
            "threads": torch.get_num_threads(),
            "waiting": WAITING,
            "seconds": round(time.perf_counter() - started, 1),
            "commit": commit(),
            "versions": versions("torch", "numpy", "lava-nc", "lava-dl"),
        }
        if elsewhere is not None and name in BESIDE and elsewhere.versions:
            measured["elsewhere"] = elsewhere.versions
        stored = {**here["sections"], name: measured}
        here["sections"] = {known: stored[known] for known in SECTIONS if known in stored}
        here["machine"] = machine()
        write_json(path, results)
        if (out / "performance.md").exists():
            write_page(out)


def hold_to_avx2() -> None:
    """Hold torch, oneDNN and the kernels to AVX2, in a new process if torch began without."""
    if any(os.environ.get(name) != value for name, value in AVX2.items()):
        command = [sys.executable, "-m", "benchmarks.speed", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | AVX2)
    compilation.FLAGS = compilation.flags_for("x86-64-v3")
    known = torch.backends.cpu.get_cpu_capability()
    if known != "AVX2":
        raise click.ClickException(f"torch computes with {known} and not with AVX2")


if __name__ == "__main__":
    main()
