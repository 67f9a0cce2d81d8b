"""``python -m benchmarks.depth``: the published depths and widths, from torch to a file.

Each network is built, trained for some batches (T = 4), quantized, lowered, exported and read back,
in a process of its own, so that its peak of memory is its own. Networks for ImageNet are quantized
with norms at full strength, the last one of every branch included, where training begins with
zeros: the widths have to hold for all branches. Writes ``docs/depth.json`` after every
network, then ``docs/depth.md``, and leaves out those that it has, unless told ``--again``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import neuroport as port
from neuroport.files import read_json, write_atomic, write_json
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Lif
from neuroport.nets.activation_recompute import recompute
from neuroport.nets.danet import DaNet
from neuroport.nets.ms_resnet import MsResNet
from neuroport.runs.trace import versions
from tests.helpers.memory import peak

ROOT = Path(__file__).resolve().parents[1]
STEPS = 4
BOARDS = ("oheo-gulch", "kapoho-point", "hala-point")


@dataclass(frozen=True)
class Case:
    """A network, the size of its frames and of its batch, and how many batches it learns from."""

    build: Callable[[], nn.Module]
    size: int
    batch: int
    batches: int
    strong: bool  # quantized with norms at full strength


def _imagenet(family: Any, depth: int) -> Case:
    return Case(lambda: family.imagenet(depth), 224, 2, 1, strong=True)


def _small(blocks: int) -> Case:
    return Case(lambda: MsResNet(blocks, in_channels=3), 32, 32, 50, strong=False)


CASES = {
    **{f"MS-ResNet-{depth}": _imagenet(MsResNet, depth) for depth in (18, 34, 104)},
    **{f"DA-{depth}": _imagenet(DaNet, depth) for depth in (50, 101, 152)},
    "MS-ResNet-110": _small(18),
    "MS-ResNet-482": _small(80),
}


class Clock:
    """Seconds of each stage, on the wall and of this process's CPU time, printed as they pass."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), _cpu()
        yield
        took = {"wall": time.perf_counter() - wall, "cpu": _cpu() - cpu}
        self.seconds[name] = {kind: round(value, 2) for kind, value in took.items()}
        print(f"  {name}: {took['wall']:.1f} s", file=sys.stderr, flush=True)


def _cpu() -> float:
    # files are read in a child
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usage)


@torch.no_grad()
def strengthen(net: nn.Module, frames: torch.Tensor) -> None:
    """Norms as training may leave them, with the statistics of ``frames``."""
    rng = np.random.default_rng(0)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
            norm.weight.copy_(torch.from_numpy(rng.uniform(0.5, 1.5, norm.num_features)))
    net.train()(frames)


def train(net: nn.Module, case: Case) -> float:
    """Learn random labels of random pixels; the last loss. Every gradient must be finite."""
    generator = torch.Generator().manual_seed(0)
    parameters = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    shape = (STEPS, case.batch, 3, case.size, case.size)
    loss = torch.zeros(())
    for _ in range(case.batches):
        frames = torch.randint(0, 256, shape, generator=generator).float()
        labels = torch.randint(0, 10, (case.batch,), generator=generator)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net.train()(frames), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in net.named_parameters():
            if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
                raise ArithmeticError(f"the gradient of {name} is not finite")
        optimizer.step()
    return float(loss)


def proven(graph: Graph) -> dict[str, int]:
    """The largest current that is proven, the smallest threshold, and bits of the worst weights."""
    neurons = [node for node in graph if isinstance(node, Lif)]
    reaches = [graph.facts(node.name) for node in neurons]
    convolutions = [n for n in graph if isinstance(n, Conv) and n.weight.shape[1] > 1]
    return {
        "largest_current": max(int(max(-f.reach_low.min(), f.reach_high.max())) for f in reaches),
        "smallest_threshold": min(int(node.threshold.min()) for node in neurons),
        "smallest_largest_weight": min(int(np.abs(n.weight).max()) for n in convolutions),
    }


def measure(name: str, size: int | None, batches: int | None) -> dict[str, Any]:
    """One row of the results; ``size`` and ``batches`` make a smaller one."""
    case = CASES[name]
    case = Case(case.build, size or case.size, case.batch, batches or case.batches, case.strong)
    clock = Clock()
    torch.manual_seed(0)
    with clock.stage("build"):
        net = recompute(case.build())
    with clock.stage("train"):
        loss = train(net, case)
    trained = peak()
    frames = np.random.default_rng(1).integers(0, 256, (STEPS, 2, 3, case.size, case.size))
    if case.strong:
        strengthen(net, torch.from_numpy(frames[:1]).float())
    with clock.stage("quantize"):
        graph = port.quantize(net, frames)
    with clock.stage("lower"):
        chip = port.lower(graph)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.net"
        with clock.stage("export"):
            port.export(chip, path)
        with clock.stage("read"):
            back = port.read(path)
        with clock.stage("check"):
            boards = told(path)
        stored = path.stat().st_size
    if back.hash != chip.hash:
        raise AssertionError("what was read is not what was exported")
    return {
        "parameters": sum(p.numel() for p in net.parameters() if p.requires_grad),
        "frames": [STEPS, case.batch, 3, case.size, case.size],
        "batches": case.batches,
        "loss": loss,
        "nodes": len(chip),
        **proven(chip),
        "boards": boards,
        "seconds": clock.seconds,
        "peak_bytes_of_training": trained,
        "peak_bytes": peak(),
        "file_bytes": stored,
    }


def told(path: Path) -> dict[str, Any]:
    """What ``neuroport check`` says of a file on each board: what does not fit, and how much."""
    found = {}
    for board in BOARDS:
        asked = ["check", str(path), "--target", board, "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "neuroport", *asked], stdout=subprocess.PIPE, check=False
        )
        if done.returncode not in (0, 1):
            raise AssertionError(f"neuroport check ended with {done.returncode} on {board}")
        said = json.loads(done.stdout)
        found[board] = {
            "fits": said["fits"],
            "cores": said["resources"]["cores"],
            "chips": said["resources"]["chips"],
            "rules_broken": sorted({each["rule"] for each in said["violations"]}),
            "does_not_fit": said["shortfall"],
            "cheapest_change": said["changes"][0]["what"] if said["changes"] else None,
        }
    return found


def ratios(networks: dict[str, Any]) -> dict[str, float]:
    """MS-ResNet-482 over MS-ResNet-110; its depth is 4.4 times as large."""
    if not {"MS-ResNet-110", "MS-ResNet-482"} <= set(networks):
        return {}
    small, large = networks["MS-ResNet-110"], networks["MS-ResNet-482"]
    found = {"depth": 482 / 110}
    for stage, took in large["seconds"].items():
        found[f"{stage} (CPU time)"] = took["cpu"] / max(small["seconds"][stage]["cpu"], 0.01)
    for what in ("nodes", "peak_bytes_of_training", "peak_bytes", "file_bytes"):
        found[what] = large[what] / small[what]
    return {what: round(value, 2) for what, value in found.items()}


def page(results: dict[str, Any]) -> str:
    """Return the text of ``docs/depth.md``."""
    lines = [
        "# Depth",
        "",
        "neuroport trains, lowers, writes and reads the deepest published networks at their",
        "published widths. The table shows the time, memory and file size that each one needs.",
        "",
        "Weights are random and T = 4. The networks for ImageNet read frames of 224x224 pixels in",
        "one batch of 2. MS-ResNet-110 and -482 read frames of 32x32 pixels in 50 batches of 32.",
        "Training recomputes the blocks in the backward pass. Every gradient was finite, and every",
        "file was read back as the graph that was written.",
        "",
        "`make depth` makes this page from [depth.json](depth.json); the last run used "
        f"{results['threads']} thread.",
        "Nothing was run on hardware.",
        "",
        "| network | parameters | s per batch | peak memory, training "
        "| quantize, lower, export, read: s | peak memory, overall | file |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in results["networks"].items():
        took = {stage: seconds["wall"] for stage, seconds in row["seconds"].items()}
        compiled = ", ".join(f"{took[s]:.1f}" for s in ("quantize", "lower", "export", "read"))
        lines.append(
            f"| {name} | {row['parameters']:,} | {took['train'] / row['batches']:.1f} "
            f"| {row['peak_bytes_of_training'] / 2**30:.1f} GiB | {compiled} "
            f"| {row['peak_bytes'] / 2**30:.1f} GiB | {row['file_bytes'] / 1e6:.0f} MB |"
        )
    if results["482 over 110"]:
        lines += [
            "",
            "## How the cost grows with depth",
            "",
            "MS-ResNet-482 relative to MS-ResNet-110:",
            "",
            "| quantity | ratio |",
            "|---|--:|",
        ]
        lines += [
            f"| {what.replace('_', ' ')} | {ratio:.2f} |"
            for what, ratio in results["482 over 110"].items()
        ]
    lines += [
        "",
        "## On which boards they fit",
        "",
        "`neuroport check --target` estimates the cores of each file. The files were lowered for",
        "Lava's CPU simulator; [lowering for a board](resources.md) also removes what breaks its",
        "rules.",
        "",
        "| network | cores | chips | fits | too large for one core | rules broken |",
        "|---|--:|--:|---|---|---|",
    ]
    for name, row in results["networks"].items():
        boards = row["boards"]
        largest = next(iter(boards.values()))
        fitting = ", ".join(board for board, said in boards.items() if said["fits"])
        broken = sorted({rule for said in boards.values() for rule in said["rules_broken"]})
        everywhere = [
            line
            for line in largest["does_not_fit"]
            if all(line in said["does_not_fit"] for said in boards.values())
        ]
        lines.append(
            f"| {name} | {largest['cores']:,} | {largest['chips']:,} | {fitting or 'none'} "
            f"| {'; '.join(everywhere) or 'nothing'} "
            f"| {', '.join(f'`{rule}`' for rule in broken) or 'none'} |"
        )
    lines += [
        "",
        f"*Fits* says which of {', '.join(f'`{board}`' for board in BOARDS)} hold it; "
        "others were not asked. "
        "An `oheo-gulch` has 1 chip and 120 cores, a `kapoho-point` 8 chips and 960 cores "
        "([chips and boards](targets.md)).",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help=f"some of {', '.join(CASES)}; all if none")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "depth.json")
    parser.add_argument("--again", action="store_true", help="measure what is there, too")
    parser.add_argument("--size", type=int, help="another size of frames (to try things out)")
    parser.add_argument("--batches", type=int, help="another number of batches, likewise")
    parser.add_argument("--here", action="store_true", help="one network, in this process")
    options = parser.parse_args()
    unknown = set(options.networks) - set(CASES)
    if unknown:
        parser.error(f"no network {', '.join(sorted(unknown))}; known: {', '.join(CASES)}")
    if options.here:
        print(json.dumps(measure(options.networks[0], options.size, options.batches)))
        return 0
    results: dict[str, Any] = read_json(options.out) if options.out.exists() else {"networks": {}}
    for name in options.networks or CASES:
        if name in results["networks"] and not options.again:
            continue
        print(name, file=sys.stderr, flush=True)
        own = [sys.executable, "-m", "benchmarks.depth", "--here", name]
        for flag in ("size", "batches"):
            own += [f"--{flag}", str(getattr(options, flag))] if getattr(options, flag) else []
        row = json.loads(subprocess.run(own, check=True, stdout=subprocess.PIPE).stdout)
        measured = {**results["networks"], name: row}
        results["networks"] = {known: measured[known] for known in CASES if known in measured}
        results["482 over 110"] = ratios(results["networks"])
        results["threads"] = torch.get_num_threads()
        results["versions"] = versions("torch", "numpy", "h5py")
        write_json(options.out, results)
    write_atomic(options.out.with_suffix(".md"), page(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
