"""Write the smallest networks that tell whether a board does what the reference does.

    python first.py FOLDER

Each NAME.net has its frames in NAME.npy, and holds one thing more than the one before. Run them in
this order (docs/loihi2.md); the first that differs says what is to be mended. Not run on hardware.
"""

import sys
from pathlib import Path

import numpy as np

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout, Relay
from neuroport.graph.store import save

STEPS, SAMPLES = 8, 4  # a power of two, and enough samples to see a reset that is not there
MAP = (2, 6, 5)  # neither square nor symmetric: exchanged axes show


def even(seed: int, *shape: int) -> np.ndarray:
    return 2 * np.random.default_rng(seed).integers(-9, 11, shape)


def classes(source: str, size: int) -> list[Node]:
    return [
        Dense("classes", (source,), even(9, 3, size)),
        Readout("potential", ("classes",), np.array([5, -7, 0])),
    ]


def networks() -> dict[str, list[Node]]:
    spikes, pixels = Input("frames", MAP, 1), Input("frames", MAP, 4)
    stem = Conv("stem", ("frames",), even(1, 4, 2, 3, 3), padding=(1, 1))
    first = Lif("first", ("stem",), 30, voltage_decay=500, bias=3)
    branch = Conv("branch", ("first",), even(2, 4, 4, 3, 3), padding=(1, 1))
    dense = [
        Input("frames", (12,), 1),
        Dense("in", ("frames",), even(3, 10, 12)),
        Lif("first", ("in",), 25, voltage_decay=500, bias=3),
        *classes("first", 10),
    ]
    other = Conv("other", ("first",), even(4, 4, 4, 1, 1))
    merged = Lif("last", ("branch", "other"), 40, voltage_decay=500)
    shortcut = Lif("last", ("branch", "hop.identity"), 40, voltage_decay=500)
    identity = np.eye(4, dtype=np.int64)[:, :, None, None]
    hop = [Relay("hop", ("stem",)), Conv("hop.identity", ("hop",), identity)]
    rounding = [Relay("rounds", ("hop.identity",), 3), Conv("rounded", ("rounds",), 8 * identity)]
    rounded = Lif("last", ("later", "rounded"), 40, voltage_decay=500)
    later = [
        Conv("wait", ("first",), identity),
        Lif("second", ("wait",), 0, voltage_decay=4095),
        Conv("later", ("second",), even(2, 4, 4, 3, 3), padding=(1, 1)),
    ]
    return {
        "1-dense": dense,
        "2-conv": [spikes, stem, first, *classes("first", 120)],
        "3-graded-frames": [pixels, stem, first, *classes("first", 120)],
        "4-merged-convs": [spikes, stem, first, branch, other, merged, *classes("last", 120)],
        "5-relay": [spikes, stem, first, *hop, branch, shortcut, *classes("last", 120)],
        "6-rounding": [
            *(spikes, stem, first, *hop, *rounding, *later, rounded, *classes("last", 120))
        ],
    }


def main(folder: Path) -> None:
    for name, nodes in networks().items():
        graph = Graph(nodes, STEPS)
        rng = np.random.default_rng(7)
        top = 2**graph.input.bits
        frames = rng.integers(0, top, (STEPS, SAMPLES, *graph.input.shape))
        frames *= rng.integers(0, 2, frames.shape)
        save(graph, folder / f"{name}.net")
        np.save(folder / f"{name}.npy", frames)
        trace = port.run(graph, frames)
        fired = {n: trace.sent(n) for n, kind in trace.kinds.items() if kind == "lif"}
        print(f"{name}: {len(graph)} nodes, {fired} spikes, classes {trace.predictions.tolist()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
