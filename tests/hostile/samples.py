"""The sound files that are mutated: a network and a trace, in every layout that HDF5 writes."""

from __future__ import annotations

import hashlib
import io
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neuroport import hdf5
from neuroport.engines.reference import Reference
from neuroport.graph import store
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Lif, Readout, Relay
from neuroport.runs.trace import Trace
from tests.helpers.neurons import neurons
from tests.helpers.stockfile import CUBA, Fields, conv, dense, file, pool

# neuroport writes the first, which has no checksums: whatever is flipped there reaches the parser
LAYOUTS = ("earliest", "v108", "latest")


@cache
def graph() -> Graph:
    """Every kind of node, branches, groups, delays, lags and strings of every length."""
    delays = np.arange(288).reshape(2, 144) % 3
    even = 2 * np.random.default_rng(0).integers(-20, 21, (4, 2, 3, 3))
    return Graph(
        [
            Input("frames", (2, 6, 6), bits=4, signed=True),
            Conv("stem", ("frames",), even, padding=(1, 1)),
            Relay("stream", ("stem",), shift=3, threshold=1),
            Conv("base", ("stream",), np.ones((4, 1, 1, 1), np.int64), groups=4),
            Lif("first", ("base", "stem"), np.arange(4), voltage_decay=3072, bias=np.arange(4)),
            Delay("later", ("first",), 1),
            Conv("second", ("later",), even[:, :2], 2, (2, 1), (0, 1), (1, 2), groups=2),
            Lif("ein Knöchel", ("second",), 5),
            Dense("classes", ("ein Knöchel",), np.arange(-48, 48).reshape(3, 32), 1),
            Readout("potential", ("classes",), bias=np.array([-3, 0, 8])),
            Dense("late", ("later",), np.tile(even.reshape(72), (2, 2)), delay=delays, lag=2),
            Relay("held", ("late",), 2),
            *neurons("held", (2,)),
        ],
        steps=3,
        interval=4,
    )


@cache
def trace() -> Trace:
    """What the network does on two samples."""
    frames = np.random.default_rng(1).integers(-8, 8, (3, 2, 2, 6, 6))
    return Reference().run(graph(), frames)


def _complex(columns: int, **neuron: Any) -> Fields:
    part = 2 * np.arange(-5, 3 * columns - 5).reshape(3, columns)
    neuron = {"sinDecay": 900, "cosDecay": 3000, "vThMant": 9, **neuron}
    return dense({"real": part, "imag": part[::-1]}, shape=[3], neuron=neuron)


ROW = 20 * np.eye(3)
ADAPTS: Fields = {"vThStep": 5, "thDecay": 300, "refDecay": np.array([400, 90, 9])}
# every layer that is read, and every kind of node that can come of one
STOCK: dict[str, list[Fields]] = {
    "maps": [
        conv(delay=np.float32([2, 2]), bias=np.float32([3, -4])),
        pool(),
        {"type": "flatten", "shape": [12, 1, 1]},
        dense(np.ones((3, 12)), delay=np.float32([0, 1, 2])),
        {name: value for name, value in dense(ROW).items() if name != "neuron"},
    ],
    "rows": [
        {"type": "input", "shape": [4], "weight": 36.0, "bias": 34.0, "neuron": CUBA},
        dense(delay=np.float32(np.arange(12).reshape(3, 4) % 3)),
        dense(ROW, type="dense_rec", weight_rec=ROW),
        {"type": "average", "shape": [1]},
    ],
    "changes": [
        {"type": "input", "shape": [4], "neuron": {"type": "SDNN", "vThMant": 2}},
        dense(
            neuron={"type": "SDNN", "activation": "relu", "vThMant": 3}, bias=np.float32([5] * 3)
        ),
        dense(ROW, neuron={"type": "SDNN", "vThMant": 0, "sigma_output": True}),
    ],
    "phases": [
        _complex(4, type="RF_PHASE"),
        _complex(3, type="RF_IZHIKEVICH"),
        _complex(3, type="ADRF_PHASE", **ADAPTS),
        _complex(3, type="ADRF_IZHIKEVICH", **ADAPTS),
    ],
    "adaptive": [
        dense(neuron={**CUBA, **ADAPTS, "type": "ALIF"}),
        dense(ROW, type="dense_rec", weight_rec=-ROW, neuron={**CUBA, **ADAPTS, "type": "ALIF"}),
        dense(ROW, neuron={**CUBA, "vThMant": 262143}, bias=np.float32([1, 2, 0])),
    ],
}


@cache
def stock(name: str) -> bytes:
    """A file of lava-dl itself, which has no hash: what was changed in it may be read."""
    with tempfile.TemporaryDirectory() as folder:
        return file(Path(folder) / "stock.net", *STOCK[name]).read_bytes()


@cache
def image(what: str, layout: str = "earliest") -> bytes:
    """Bytes of the ``graph`` or the ``trace``, sealed."""
    source: Any = graph() if what == "graph" else trace()
    fill = store.fill if what == "graph" else Trace.fill
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=layout, userblock_size=hdf5.BLOCK) as file:
        fill(source, file)
    return seal(buffer.getvalue())


def seal(content: bytes) -> bytes:
    """Write the right seal over whatever stands in the user block: anybody can."""
    body = content[hdf5.BLOCK :]
    line = hdf5.SEAL + hashlib.sha256(body).hexdigest().encode() + b"\n"
    return line.ljust(hdf5.BLOCK, b"\0") + body
