"""One random NIR network, all the way: in, integers, every engine, chip time, out and in again."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import neuroport as port
from neuroport.frontends.nir import NirImport, import_nir, to_nir
from tests.nir.networks import DT, Drawn, draw, write


class DivergenceError(AssertionError):
    """Two that should be equal are not; says which."""


@dataclass
class Outcome:
    """What was compared of a network, and what it has; ``shares`` are those of quantization."""

    seed: int
    hash: str
    features: list[str]
    exact: bool
    populations: int
    silent: int
    positions: int
    lava_positions: int
    shares: list[float]


def probe(seed: int, lava: bool = False) -> Outcome:
    """Take the network of a seed through everything.

    Raises:
        DivergenceError: naming the seed and what differs.
    """
    drawn = draw(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = write(drawn.root, Path(folder) / "drawn.nir")
        made = import_nir(path, dt=DT, frames=drawn.frames)
        same = import_nir(drawn, dt=DT, frames=drawn.frames, measure=False)
        if same.graph.hash != made.graph.hash:
            raise DivergenceError(f"{seed}: the file and the object give different graphs")
        back = Path(folder) / "back.nir"
        to_nir(made.graph, back)
        if port.from_nir(back).hash != made.graph.hash:
            raise DivergenceError(f"{seed}: out and in is another graph")
        told = exact(made, drawn)
        want = port.run(made.graph, made.frames, on="reference")
        lowered = port.lower(made.graph)
        positions = equal(seed, "fast", want, port.run(lowered, made.frames, on="fast"))
        on_lava = 0
        if lava:
            net = port.export(lowered, Path(folder) / "network.net")
            got = port.run(net, made.frames, on="lava-cpu")
            on_lava = equal(seed, "lava-cpu", want, got)
    assert made.cost is not None
    spiking = [p for p in made.cost.populations if p.spikes]
    return Outcome(
        seed,
        made.graph.hash,
        sorted(drawn.features),
        told,
        len(spiking),
        sum(p.real == 0 for p in spiking),
        positions,
        on_lava,
        [round(p.share, 4) for p in spiking],
    )


def exact(made: NirImport, drawn: Drawn) -> bool:
    """Whether nothing was rounded; then nothing may differ from the real-valued network."""
    rounded = any("rounded" in record.what for record in made.records)
    if rounded or not drawn.exact:
        return False
    assert made.cost is not None
    for population in (*made.cost.populations, *made.cost.outputs):
        if population.differing or population.error:
            raise DivergenceError(f"told as exact, and {population}")
    return True


def equal(seed: int, engine: str, want: port.Trace, got: port.Trace) -> int:
    """Positions compared, all equal."""
    found = port.compare(want, got)
    if not found.equal:
        raise DivergenceError(f"{seed}: {engine}: {found}")
    return sum(int(np.prod(want[name].shape)) for name in want.kinds)
