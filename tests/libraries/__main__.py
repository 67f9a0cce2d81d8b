"""Networks of snnTorch and SpikingJelly, from training in their library to Lava; writes
results.json.

Each is trained for some steps on real digits by its own library, taken over, held against the
library's own forward, quantized, trained on in integers, lowered and run on Lava's CPU simulator.
Runs what is installed: snnTorch anywhere, SpikingJelly on Python 3.11 or newer. Goes on where it
was.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import neuroport as port
from neuroport.data.digits import all_digits
from neuroport.files import read_json, write_json
from neuroport.runs.trace import versions

RESULTS = Path(__file__).with_name("results.json")
STEPS, TRAIN, TEST, LEVELS = 4, 512, 64, 15


def digits(size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, channels, size, size) of 0..15, halved and with a border, and classes."""
    images, labels = all_digits()
    order = np.random.default_rng(0).permutation(len(labels))[: TRAIN + TEST]
    small = images[order].reshape(-1, 1, 14, 2, 14, 2).mean((3, 5))
    small = np.rint(small / 255 * LEVELS).astype(np.int64)
    if size >= 28:
        small = small.repeat(2, -1).repeat(2, -2)
    edge = (size - small.shape[-1]) // 2
    padded = np.pad(small, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    return padded.repeat(channels, 1), labels[order]


def frames_of(pictures: np.ndarray) -> np.ndarray:
    return np.repeat(pictures[None], STEPS, 0)


def called(net: nn.Module, way: str, x: Tensor, reset: Callable[[nn.Module], None]) -> Tensor:
    """What the library's forward gives for frames (T, N, ...): over all steps, or their mean."""
    reset(net)
    if way == "step":
        return torch.stack([_first(net(step)) for step in x])
    return _first(net(x[0] if way == "static" else x))


def _first(out: Any) -> Tensor:
    found: Tensor = out[0] if isinstance(out, tuple) else out
    return found


def over_steps(out: Tensor) -> Tensor:
    return out.mean(0) if out.ndim == 3 else out


def probe(
    net: nn.Module,
    size: int,
    channels: int,
    way: str,
    reset: Callable[[nn.Module], None],
    batches: int,
    lava: int,
) -> dict[str, Any]:
    """One network, all the way; raises where a spike differs."""
    torch.manual_seed(0)
    pictures, labels = digits(size, channels)
    x = torch.from_numpy(frames_of(pictures)).float() / LEVELS
    y = torch.from_numpy(np.asarray(labels, np.int64))
    started = time.perf_counter()
    seen = min(TRAIN, 16 * batches)  # samples that are trained on, in the library and after it
    for module in net.modules():  # a few batches must do for their statistics
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.5
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    net.train()
    for index in range(batches):
        part = slice(32 * index % seen, 32 * index % seen + 32)
        loss = F.cross_entropy(over_steps(called(net, way, x[:, part], reset)) * 4, y[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    held = slice(TRAIN, TRAIN + 8)
    frames = frames_of(pictures[held])
    reset(net)
    made = port.import_torch(net, frames, scale=1 / LEVELS)
    assert made.way == way, made.way
    with torch.no_grad():
        want = called(net, way, x[:, held], reset).numpy()
    real = made.real(frames)["output"]
    if real.ndim > want.ndim:
        potential = made.network.nodes[made.network.nodes["output"].inputs[0]].kind == "Potential"
        real = real[-1] / STEPS if potential else real.mean(0)
    difference = float(np.abs(real - want).max())
    assert difference < 1e-4 * max(1.0, float(np.abs(want).max())), difference
    tuned = made.trainable()
    optimizer = torch.optim.Adam(tuned.parameters(), 5e-4)
    losses = []
    for first in range(0, seen, 16):  # an epoch
        part = slice(first, first + 16)
        out = tuned(torch.from_numpy(frames_of(pictures[part])))
        total = out[-1] if "sum" in tuned.outputs[0] else out.sum(0)
        loss = F.cross_entropy(total, y[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tuned.bound()
        losses.append(loss.item())
    graph = tuned.graph()
    chip = port.lower(graph, target="lava-cpu")
    few = frames[:, :lava]
    want_trace = port.run(graph, few)
    assert port.compare(want_trace, port.run(tuned, few)).equal
    found = port.compare(want_trace, port.run(chip, few, on="lava-cpu", deadline=1800))
    assert found.equal, str(found)
    silent = [n for n in want_trace.messages if not want_trace.messages[n].any()]
    return {
        "called": made.way,
        "largest difference from the library": difference,
        "populations": len(want_trace.messages),
        "silent populations": len(silent),
        "share of spikes that quantization changed, mean": round(
            float(np.mean([p.share for p in made.cost.populations])), 4
        ),
        "samples of the epoch in integers": seen,
        "loss, first and last batch in integers": [round(losses[0], 3), round(losses[-1], 3)],
        "samples on lava-cpu": lava,
        "positions compared on lava-cpu": int(sum(m.size for m in want_trace.messages.values())),
        "differing": 0,
        "seconds": round(time.perf_counter() - started, 1),
    }


def networks() -> dict[str, tuple[Callable[[], nn.Module], int, int, str, Any]]:
    """Every network of the libraries that are here."""
    found: dict[str, tuple[Callable[[], nn.Module], int, int, str, Any]] = {}
    try:
        import snntorch  # noqa: F401
    except ImportError:
        pass
    else:
        from tests.libraries import snntorch_networks as snn

        def nothing(net: nn.Module) -> None:
            """Forward resets its states itself."""

        found["snntorch: tutorial 5, dense"] = (
            lambda: nn.Sequential(nn.Flatten(), snn.Dense(256, STEPS)),
            16,
            1,
            "static",
            nothing,
        )
        found["snntorch: tutorial 6, convolutional, pools behind the neurons"] = (
            lambda: snn.Convolutional(STEPS, False),
            28,
            1,
            "static",
            nothing,
        )
        for before in (True, False):
            for reset in ("zero", "subtract"):
                place = "before" if before else "after"
                found[f"snntorch: residual, added {place} the neuron, {reset}"] = (
                    lambda before=before, reset=reset: snn.Residual(
                        before, 16, reset_mechanism=reset
                    ),
                    16,
                    2,
                    "TN",
                    nothing,
                )
    try:
        import spikingjelly  # noqa: F401
    except ImportError:
        return found
    from tests.libraries import jelly_networks as jelly

    for name, (size, build) in jelly.NETWORKS.items():
        way = "TN"
        if "CSNN" in name or "static" in name:
            way = "static"
        elif "fully" in name:
            way = "step"
        found[f"spikingjelly: {name}"] = (
            lambda build=build: build(STEPS),
            size,
            3,
            way,
            jelly.reset,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", default="", help="names that hold this")
    parser.add_argument("--again", action="store_true", help="those that are in the file, too")
    parser.add_argument("--batches", type=int, default=48)
    args = parser.parse_args()
    found = read_json(args.out) if args.out.exists() else {"networks": {}}
    for name, (build, size, channels, way, reset) in networks().items():
        if args.only not in name or (name in found["networks"] and not args.again):
            continue
        torch.manual_seed(0)
        large = "resnet18" in name or "vgg" in name
        batches = args.batches if not large else 4 if "vgg" in name else 12
        print(name, file=sys.stderr, flush=True)
        done = probe(build(), size, channels, way, reset, batches, 1 if large else 4)
        done["versions"] = versions("numpy", "torch", name.partition(":")[0], "lava-nc")
        done["versions"]["python"] = ".".join(map(str, sys.version_info[:2]))
        found["networks"][name] = done
        write_json(args.out, found)


if __name__ == "__main__":
    main()
