"""Stock files two ways: their layers seen as a graph again, and unmodified NetX running them."""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout
from neuroport.lowering.layer_chain import ChainLayer
from tests.properties.interpreter import interpret


def chain_messages(
    layers: list[ChainLayer], lowered: Graph, frames: np.ndarray
) -> dict[str, np.ndarray]:
    """Messages of every population of ``lowered``, from the layers alone, in ideal time.

    Each layer is a synapse and a spiking population; what a readout became must never fire, and
    its potential is that of an integrator on the same current.
    """
    inlet = lowered.input
    nodes: list[Node] = [Input("layer", inlet.shape, inlet.bits, inlet.signed)]
    for i, layer in enumerate(layers):
        source = "layer" if i == 0 else f"layer{i - 1}"
        if layer.weight.ndim == 4:
            nodes.append(
                Conv(
                    f"synapse{i}",
                    (source,),
                    layer.weight,
                    stride=layer.stride,
                    padding=layer.padding,
                    groups=layer.groups,
                )
            )
        else:
            nodes.append(Dense(f"synapse{i}", (source,), layer.weight))
        nodes.append(
            Lif(
                f"layer{i}",
                (f"synapse{i}",),
                layer.threshold,
                layer.current_decay,
                layer.voltage_decay,
                layer.bias,
            )
        )
        nodes.append(Readout(f"potential{i}", (f"synapse{i}",), layer.bias))
    values, _ = interpret(Graph(nodes, lowered.steps, lowered.interval), frames)
    found = {}
    for i, layer in enumerate(layers):
        for name, (start, stop) in layer.members.items():
            spikes = values[f"layer{i}"][:, :, start:stop]
            if isinstance(lowered[name], Readout):
                assert not spikes.any(), f"the readout {name} fires in the chain"
                found[name] = values[f"potential{i}"][:, :, start:stop]
            else:
                found[name] = spikes
    return found


ROOT = Path(__file__).resolve().parents[2]
STOCK = ROOT / "deploy" / "lava_cpu" / "run_stock.py"
CHILD = Path(__file__).with_name("stock_child.py")
PATIENCE = 600.0  # seconds for a network; a Lava process that fails leaves the others waiting
TOGETHER = 100  # networks of one process


class Stock:
    """A process in which lava-dl alone runs one file after the other; a new one after a failure."""

    def __init__(self) -> None:
        self.ran = 0
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (read when a network fails)
        self.process = subprocess.Popen(
            [sys.executable, CHILD, STOCK],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            start_new_session=True,  # Lava's processes end with it
        )

    def run(self, folder: Path) -> None:
        """Run ``chain.net`` of a folder on its ``frames.npy``, into ``out.npz``.

        Raises:
            RuntimeError: it failed, or did not end.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.ran += 1
        names = ("chain.net", "frames.npy", "out.npz")
        print(*(folder / name for name in names), sep="\t", file=self.process.stdin, flush=True)
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        answer = self.process.stdout.readline() if ready else f"no answer in {PATIENCE:.0f} s"
        if answer != "done\n":
            self.end()
            self.said.seek(0)
            raise RuntimeError(f"stock NetX: {answer.strip()}; {self.said.read()[-2000:]}")

    def end(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


_running: Stock | None = None


def _stock() -> Stock:
    """The process of this one; lava-dl takes seconds to import."""
    global _running
    if _running is None:
        atexit.register(lambda: _running and _running.end())
    if _running is None or _running.ran >= TOGETHER or _running.process.poll() is not None:
        if _running is not None:
            _running.end()
        _running = Stock()
    return _running


def netx_messages(
    layers: list[ChainLayer], lowered: Graph, frames: np.ndarray
) -> dict[str, np.ndarray]:
    """Messages of every population of ``lowered``, from lava-dl's own NetX in its own process."""
    with tempfile.TemporaryDirectory(prefix="neuroport-stock-") as name:
        folder = Path(name)
        port.export(lowered, folder / "chain.net")
        np.save(folder / "frames.npy", frames)
        _stock().run(folder)
        with np.load(folder / "out.npz") as out:
            values = {key: out[key] for key in out.files}
    steps, samples = frames.shape[:2]
    found = {}
    for i, layer in enumerate(layers):
        for name, (start, stop) in layer.members.items():
            readout = isinstance(lowered[name], Readout)
            rows = values["potential" if readout else f"layer{i}"]
            rows = rows.reshape(len(rows), *layer.shape)[:, start:stop]
            first = lowered.facts(name).latency
            starts = [first + n * lowered.interval for n in range(samples)]
            found[name] = np.stack([rows[at : at + steps] for at in starts], axis=1)
    return found
