"""``python -m benchmarks.widths``: what proven widths cost a deep network, and checked ones save.

MS-ResNet-34 and -104 at their published widths learn digits for some batches (T = 4, pictures
resized to ``--size``), are quantized with ``widths="proven"`` and ``"checked"`` from the same
weights, and their logits on test pictures are compared with those of the real-valued network:
Pearson's correlation of all logits, and the mean of that of each picture's. The integer networks
run on the engine ``fast``, which checks every step; what leaves its widths is told, not left out.
Writes ``docs/widths.json`` and ``docs/widths.md`` after every network and leaves out those that it
has, unless told ``--again``.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import neuroport as port
from benchmarks.depth import strengthen
from neuroport.data.loading import load_data
from neuroport.data.samples import frames_of
from neuroport.errors import RangeError
from neuroport.files import read_json, write_atomic, write_json
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Lif, Readout
from neuroport.nets.ms_resnet import MsResNet
from neuroport.nets.widths import WIDTHS
from neuroport.recipe import DataRecipe
from neuroport.runs.trace import versions

ROOT = Path(__file__).resolve().parents[1]
OUT, PAGE = ROOT / "docs" / "widths.json", ROOT / "docs" / "widths.md"
STEPS, CLASSES, CALIBRATION, TOGETHER = 4, 10, 32, 8
# name -> depth, and whether norms are at full strength, as docs/depth.md has them
NETWORKS = {
    "MS-ResNet-34": (34, False),
    "MS-ResNet-104": (104, False),
    "MS-ResNet-34, strong norms": (34, True),
    "MS-ResNet-104, strong norms": (104, True),
}


HEAD = """# Proven and checked widths

What proven widths cost deep networks, and what
[checked ones](howto/few_levels.md#checked-widths) save: the logits of the integer network
against those of the real-valued one it was made of, on test pictures. `make widths` makes this page
from [widths.json](widths.json). Networks have their published widths, on smaller pictures, and
learned for the few batches that are told, all branches at work (their last norms begin at 0.5 and
not at 0): weights are realistic, accuracies are not those of a trained network. *Strong norms* are
those of [depth.md](depth.md), drawn from 0.5 to 1.5, with the statistics of 8 pictures. Chips
refuse the checked ones.

Where a stream has the same LSBs both ways, its range binds in neither: a bias has 13 bits, and on a
grid twice as fine the largest would need more. What is finer then are the projections and the
readout.

| network | pictures | training | widths | threshold, LSBs | largest weight | correlation | alike |
|---|---|---|---|---|---|---|---|
"""


def resized(frames: npt.NDArray[Any], size: int) -> npt.NDArray[np.int64]:
    """Digits (T, N, 1, H, W) as pictures of three channels and another side."""
    flat = torch.from_numpy(np.array(frames[0], np.float32))
    larger = F.interpolate(flat, (size, size), mode="bilinear").round().clamp(0, 255)
    pictures = larger.expand(-1, 3, -1, -1).numpy().astype(np.int64)
    return np.repeat(pictures[None], len(frames), 0)


@torch.no_grad()
def at_work(net: nn.Module) -> nn.Module:
    """Branches end with the norms that others begin with, 0.5, as training may leave them.

    They begin at 0 in the published code, and a few batches would leave them there. Statistics
    follow fast, since there are few batches.
    """
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 0.3
            norm.weight.copy_(torch.where(norm.weight == 0, 0.5, norm.weight))
    return net


def train(net: nn.Module, data: Any, size: int, batches: int, batch: int) -> list[float]:
    """Learn the first ``batches`` of the digits; the losses."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    losses = []
    for number in range(batches):
        part = slice(number * batch, (number + 1) * batch)
        frames = torch.from_numpy(resized(frames_of(data, part, STEPS), size)).float()
        optimizer.zero_grad()
        loss = F.cross_entropy(net.train()(frames), torch.from_numpy(data.labels[part]))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(round(float(loss), 4))
        print(f"  batch {number + 1} of {batches}: {losses[-1]}", file=sys.stderr, flush=True)
    return losses


@torch.no_grad()
def real_logits(net: nn.Module, frames: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Logits (N, classes) of the real-valued network."""
    found: list[Tensor] = []
    for first in range(0, frames.shape[1], TOGETHER):
        found.append(net.eval()(torch.from_numpy(frames[:, first : first + TOGETHER]).float()))
    logits: npt.NDArray[np.float64] = torch.cat(found).double().numpy()
    return logits


def grid(graph: Graph) -> dict[str, Any]:
    """Integers that a threshold and the weights of a convolution have."""
    thresholds = [int(node.threshold.min()) for node in graph if isinstance(node, Lif)]
    convolutions = [n for n in graph if isinstance(n, Conv) and n.weight.shape[1] > 1]
    largest = sorted(int(np.abs(n.weight).max()) for n in convolutions)
    return {
        "thresholds": [min(thresholds), max(thresholds)],
        "smallest_largest_weight": largest[0],
        "median_largest_weight": largest[len(largest) // 2],
        "widths": graph.widths,
    }


def compared(
    net: nn.Module, widths: str, seen: npt.NDArray[Any], frames: npt.NDArray[Any], labels: Any
) -> dict[str, Any]:
    """One way of quantizing against the real-valued network."""
    real = real_logits(net, frames)
    started = time.perf_counter()
    graph = port.quantize(copy.deepcopy(net), seen, widths=widths)
    found: dict[str, Any] = {"quantize_seconds": round(time.perf_counter() - started, 1)}
    found |= grid(graph)
    readout = graph.of(Readout)[0].name
    started = time.perf_counter()
    try:
        trace = port.run(graph, frames, on="fast", record="counts", granularity="layer")
    except RangeError as error:
        return found | {"left": error.message}
    integer = trace[readout][-1].astype(np.float64)
    each = [np.corrcoef(a, b)[0, 1] for a, b in zip(real, integer, strict=True)]
    right = {"real": real.argmax(1) == labels, "integer": integer.argmax(1) == labels}
    return found | {
        "run_seconds": round(time.perf_counter() - started, 1),
        "correlation": round(float(np.corrcoef(real.ravel(), integer.ravel())[0, 1]), 4),
        "correlation_of_a_picture": round(float(np.nanmean(each)), 4),
        "classified_alike": int((real.argmax(1) == integer.argmax(1)).sum()),
        "correct": {name: int(values.sum()) for name, values in right.items()},
    }


def measure(name: str, size: int, batches: int, batch: int, samples: int) -> dict[str, Any]:
    """One row of the results."""
    torch.manual_seed(0)
    depth, strong = NETWORKS[name]
    net = at_work(MsResNet.imagenet(depth, classes=CLASSES))
    split = load_data(DataRecipe())
    started = time.perf_counter()
    losses = train(net, split.train, size, batches, batch)
    took = time.perf_counter() - started
    seen = resized(frames_of(split.train, slice(CALIBRATION), STEPS), size)
    if strong:
        strengthen(net, torch.from_numpy(seen[:, :TOGETHER]).float())
    frames = resized(frames_of(split.test, slice(samples), STEPS), size)
    found: dict[str, Any] = {
        "frames": [STEPS, samples, 3, size, size],
        "batches": batches,
        "batch": batch,
        "losses": [losses[0], losses[-1]],
        "train_seconds": round(took, 1),
    }
    for widths in WIDTHS:
        found[widths] = compared(net, widths, seen, frames, split.test.labels[:samples])
        print(f"  {widths}: {found[widths]}", file=sys.stderr, flush=True)
    return found


def page(results: dict[str, Any]) -> str:
    """``docs/widths.md``: what is in the JSON, to be read."""
    lines = [HEAD]
    for name, found in results["networks"].items():
        steps, samples, _, _, size = found["frames"]
        shown = f"{samples} of {size}x{size}, T = {steps}"
        learned = f"{found['batches']} of {found['batch']}"
        for widths in WIDTHS:
            one = found[widths]
            low, high = one["thresholds"]
            said = (
                f"{one['correlation']:.3f} | {one['classified_alike']} of {samples}"
                if "correlation" in one
                else "left its widths |"
            )
            lines.append(
                f"| {name} | {shown} | {learned} | {widths} | {low} to {high} | "
                f"{one['median_largest_weight']} | {said} |\n"
            )
    return "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", choices=[*NETWORKS, []], help="all where none")
    parser.add_argument("--size", type=int, default=64, help="side of the pictures")
    parser.add_argument("--batches", type=int, default=24, help="to train")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--samples", type=int, default=64, help="test pictures to compare")
    parser.add_argument("--again", action="store_true")
    asked = parser.parse_args()
    results = read_json(OUT) if OUT.exists() else {"networks": {}}
    for name in asked.networks or NETWORKS:
        if name in results["networks"] and not asked.again:
            continue
        print(name, file=sys.stderr, flush=True)
        sizes = asked.size, asked.batches, asked.batch, asked.samples
        results["networks"][name] = measure(name, *sizes)
        results["versions"] = versions("torch", "numpy")
        write_json(OUT, results)
        write_atomic(PAGE, page(results))


if __name__ == "__main__":
    main()
