"""``python -m benchmarks.grid_options``: what equalized channels and corrected biases recover.

The networks of ``models/`` are put back into their real-valued phase and quantized again, without
training, with and without each option. MS-ResNet-34 at its published widths learns for some
batches, as in ``benchmarks.widths``. The logits and classes of held-out pictures are compared with
those of the real-valued network. With 4 bits, the quantizer is told that weights are even integers
in [-14, 14]: 15 levels. Writes ``docs/grid_options.json`` and ``docs/grid_options.md`` after every
network and leaves out those that it has, unless told ``--again``.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import neuroport as port
from benchmarks.depth import strengthen
from benchmarks.widths import STEPS, TOGETHER, at_work, real_logits, resized, train
from neuroport.data.loading import load_data
from neuroport.data.samples import frames_of, spread_over
from neuroport.errors import IllegalError
from neuroport.files import read_json, write_atomic, write_json
from neuroport.graph import integers
from neuroport.graph.node import Readout
from neuroport.nets.ms_resnet import MsResNet
from neuroport.nets.torch_parts import OnGrid
from neuroport.quantization import QuantizationWarning
from neuroport.recipe import DataRecipe
from neuroport.runs.trace import versions
from neuroport.training.checkpoint import read_checkpoint

ROOT = Path(__file__).resolve().parents[1]
OUT, PAGE = ROOT / "docs" / "grid_options.json", ROOT / "docs" / "grid_options.md"
MODELS = ROOT / "models"
BITS = (8, 4)
CALIBRATION = 32  # training samples
# name -> options of port.quantize
OPTIONS: dict[str, dict[str, bool]] = {
    "none": {},
    "equalize": {"equalize": True},
    "correct_bias": {"correct_bias": True},
    "both": {"equalize": True, "correct_bias": True},
}
DEEP = {"MS-ResNet-34": False, "MS-ResNet-34, strong norms": True}
SIZE, BATCHES, BATCH = 64, 12, 8  # of MS-ResNet-34's pictures and training
FEWER = 32  # its pictures that are compared, and calibration samples

HEAD = """# Equalized channels and corrected biases

What the options `equalize` and `correct_bias` of quantization
([what they do](howto/few_levels.md#without-training)) recover without training: the logits of the
integer network against those of the real-valued one that it was made of (Pearson's correlation of
all logits), how many held-out pictures both classify alike, and how many are right.
`make grid-options` makes this page from [grid_options.json](grid_options.json).

The networks of [models](../models/README.md) have the weights that they were trained to; they are
quantized again, with 32 training samples. They had some epochs in the integer phase with 8 bits, so
their weights suit that grid.

Chips have weights of 8 bits. The rows of 4 bits show what few levels lose: the quantizer was told
that weights are even integers in [-14, 14], 15 levels, as a synapse has that shares its grid with a
much larger one. Differences of a few pictures are chance.
"""

OF_DEEP = """
MS-ResNet-34 has its published widths and learned for 12 batches of digits at 64x64, as on the page
of [widths](widths.md): its weights are realistic, its accuracy is not that of a trained network.
"""

MISSING = """
Not measured yet: {}. `make grid-options` goes on with them.
"""


@contextmanager
def weights_of(bits: int) -> Iterator[None]:
    """Context in which the quantizer knows weights of so many bits only."""
    before, integers.WEIGHT_MAX = integers.WEIGHT_MAX, 2**bits - 2
    try:
        yield
    finally:
        integers.WEIGHT_MAX = before


def against(
    real: npt.NDArray[Any], integer: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> dict[str, Any]:
    """Logits of the integer network against those of the real-valued one."""
    alike = real.argmax(1) == integer.argmax(1)
    return {
        "correlation": round(float(np.corrcoef(real.ravel(), integer.ravel())[0, 1]), 5),
        "alike": int(alike.sum()),
        "correct": int((integer.argmax(1) == labels).sum()),
    }


def compared(
    net: nn.Module, seen: npt.NDArray[Any], frames: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> dict[str, Any]:
    """All options at all bits."""
    real = real_logits(net, frames)
    found: dict[str, Any] = {"samples": len(labels), "real": int((real.argmax(1) == labels).sum())}
    for bits in BITS:
        found[str(bits)] = {}
        for name, options in OPTIONS.items():
            started = time.perf_counter()
            try:
                with weights_of(bits), warnings.catch_warnings():
                    warnings.simplefilter("ignore", QuantizationWarning)
                    graph = port.quantize(copy.deepcopy(net), seen, **options)
            except IllegalError as error:
                found[str(bits)][name] = {"refused": error.message}
                continue
            took = time.perf_counter() - started
            readout = graph.of(Readout)[0].name
            trace = port.run(graph, frames, on="fast", record="counts", granularity="layer")
            integer = trace[readout][-1].astype(np.float64)
            one = against(real, integer, labels) | {"quantize_seconds": round(took, 1)}
            found[str(bits)][name] = one
            print(f"  {bits} bits, {name}: {one}", file=sys.stderr, flush=True)
    return found


def of_zoo(name: str, samples: int) -> dict[str, Any]:
    """A network of ``models/`` with the weights of its checkpoint, in real numbers."""
    recipe = read_checkpoint(MODELS / name).recipe
    net = port.load(MODELS / name)
    for module in net.modules():
        if isinstance(module, OnGrid):
            module.lsb.zero_()
    split, steps = load_data(recipe.data), recipe.data.steps
    seen = frames_of(split.train, spread_over(len(split.train.labels), CALIBRATION), steps)
    frames = np.array(frames_of(split.test, slice(samples), steps))
    return compared(net, seen, frames, np.asarray(split.test.labels[:samples]))


def of_deep(name: str) -> dict[str, Any]:
    """MS-ResNet-34 after some batches."""
    torch.manual_seed(0)
    net = at_work(MsResNet.imagenet(34, classes=10))
    split = load_data(DataRecipe())
    train(net, split.train, SIZE, BATCHES, BATCH)
    seen = resized(frames_of(split.train, slice(FEWER), STEPS), SIZE)
    if DEEP[name]:
        with torch.no_grad():
            strengthen(net, torch.from_numpy(seen[:, :TOGETHER]).float())
    frames = resized(frames_of(split.test, slice(FEWER), STEPS), SIZE)
    return compared(net.eval(), seen, frames, np.asarray(split.test.labels[:FEWER]))


def zoo() -> list[str]:
    """The networks that have a checkpoint."""
    return sorted(path.parent.name for path in MODELS.glob("*/checkpoint.safetensors"))


def summary(results: dict[str, Any], bits: int) -> str:
    """How many networks an option brings nearer to their real numbers, and by how much."""
    lines = []
    for option in list(OPTIONS)[1:]:
        pairs = [
            (found[str(bits)]["none"], found[str(bits)][option])
            for found in results["networks"].values()
        ]
        both = [(a, b) for a, b in pairs if "correlation" in a and "correlation" in b]
        lost = [(1 - b["correlation"]) / (1 - a["correlation"]) for a, b in both]
        nearer = sum(b["correlation"] > a["correlation"] for a, b in both)
        less = 100 * (1 - float(np.exp(np.mean(np.log(lost)))))
        said = f"{abs(less):.0f} % {'less' if less >= 0 else 'more'}"
        lines.append(
            f"* `{option}`: nearer for {nearer} of {len(both)} networks; what the correlation "
            f"lacks of 1 is {said} (geometric mean)\n"
        )
    return "".join(lines)


def page(results: dict[str, Any]) -> str:
    """``docs/grid_options.md``: what is in the JSON, to be read."""
    measured = results["networks"]
    missing = [name for name in (*zoo(), *DEEP) if name not in measured]
    parts = [HEAD]
    parts += [OF_DEEP] if any(name in DEEP for name in measured) else []
    parts += [MISSING.format(", ".join(missing))] if missing else []
    for bits in BITS:
        parts.append(f"\n## {bits} bits\n\n{summary(results, bits)}")
        parts.append("\n| network | | real | none | equalize | correct_bias | both |\n")
        parts.append("|---|---|--:|--:|--:|--:|--:|\n")
        for name, found in measured.items():
            each = [found[str(bits)][option] for option in OPTIONS]
            for what, label in (
                ("correlation", "correlation"),
                ("alike", f"alike of {found['samples']}"),
                ("correct", "right"),
            ):
                shown = [_cell(one, what) for one in each]
                real = {"correlation": "", "alike": "", "correct": str(found["real"])}[what]
                first = name if what == "correlation" else ""
                parts.append(f"| {first} | {label} | {real} | {' | '.join(shown)} |\n")
    return "".join(parts)


def _cell(one: dict[str, Any], what: str) -> str:
    if what not in one:
        return "refused"
    return f"{one[what]:.5f}" if what == "correlation" else str(one[what])


def main() -> None:
    names = [*zoo(), *DEEP]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", choices=[*names, []], help="all where none")
    parser.add_argument("--samples", type=int, default=300, help="held-out samples of models/")
    parser.add_argument("--again", action="store_true")
    asked = parser.parse_args()
    results = read_json(OUT) if OUT.exists() else {"networks": {}}
    for name in asked.networks or names:
        if name in results["networks"] and not asked.again:
            continue
        print(name, file=sys.stderr, flush=True)
        results["networks"][name] = of_deep(name) if name in DEEP else of_zoo(name, asked.samples)
        known = results["networks"]
        results["networks"] = {each: known[each] for each in names if each in known}
        results["versions"] = versions("torch", "numpy")
        write_json(OUT, results)
        write_atomic(PAGE, page(results))


if __name__ == "__main__":
    main()
