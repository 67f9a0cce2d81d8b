"""Random residual spiking networks, lively and legal: for hypothesis and by number.

``network(seed)`` is a function of one integer. A network that breaks a rule of the target or falls
silent is drawn again; the attempts are numbered, so the function stays one. Numbers from ``CHAINS``
on are chains without shortcuts, which a stock file can hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st

from neuroport.errors import IllegalError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Lif
from neuroport.lowering.layer_chain import chain
from neuroport.targets.lowering import lower
from neuroport.targets.rules import too_wide
from tests.properties.blocks import Blocks
from tests.properties.builder import RedrawError
from tests.properties.choices import Choices, Drawn, Seeded

ATTEMPTS = 200
BLOCKS, FEW_BLOCKS = 8, 3
CHAINS = 1_000_000_000  # the number of the first chain
CHAIN_LAYERS = 4  # at most, and a readout
LAVA_EVERY = 8  # numbers whose networks Lava may run; it starts a process for every node


@dataclass(frozen=True)
class Case:
    """A network, frames for it, and what it was built of (``tags``: how often)."""

    graph: Graph
    frames: np.ndarray
    tags: dict[str, int]
    attempt: int = 0

    def __repr__(self) -> str:
        return f"{self.graph}\nframes {self.frames.shape}"


def for_lava(seed: int) -> bool:
    """Whether a number is one of those that Lava may run."""
    return seed % LAVA_EVERY == 0


def network(seed: int) -> Case:
    """The network of a number, the same on every machine.

    Numbers for Lava have few blocks, but for one in eight of them.
    """
    small = for_lava(seed) and (seed // LAVA_EVERY) % 8 != 0
    for attempt in range(ATTEMPTS):
        try:
            if seed >= CHAINS:
                return grow_chain(Seeded(seed, attempt), attempt)
            return grow(Seeded(seed, attempt), FEW_BLOCKS if small else BLOCKS, attempt)
        except RedrawError:
            continue
    raise RuntimeError(f"seed {seed}: no network in {ATTEMPTS} attempts; the builder is too strict")


@st.composite
def cases(draw: Any) -> Case:
    """Networks as hypothesis draws and shrinks them."""
    try:
        return grow(Drawn(draw), FEW_BLOCKS)
    except RedrawError:
        return reject()


def grow(choose: Choices, most: int, attempt: int = 0) -> Case:
    """A network of these choices, of ``most`` blocks or fewer.

    Raises:
        RedrawError: it breaks a rule, or more than a third of its populations are constant.
    """
    blocks = Blocks(choose)
    blocks.grow(most)
    return finished(blocks, attempt)


def grow_chain(choose: Choices, attempt: int = 0) -> Case:
    """A chain of these choices.

    Raises:
        RedrawError: as :func:`grow`, or NetX cannot express it.
    """
    blocks = Blocks(choose, stock=True)
    blocks.grow_chain(CHAIN_LAYERS)
    case = finished(blocks, attempt)
    try:
        chain(lower(case.graph, carrier="stock"))
    except IllegalError as error:
        raise RedrawError(error.message) from error
    return case


def finished(blocks: Blocks, attempt: int) -> Case:
    """The network that was grown, if it is one to run."""
    graph = blocks.graph()
    broken = [v for v in too_wide(graph) if v.rule != "latencies_agree"]
    if broken:
        raise RedrawError(str(broken[0]))
    lifs = [node.name for node in graph if isinstance(node, Lif)]
    rates = [blocks.values[name].mean() for name in lifs]
    constant = sum(rate in (0.0, 1.0) for rate in rates)
    if 3 * constant > len(lifs):
        raise RedrawError(f"{constant} of {len(lifs)} populations are constant")
    return Case(graph, blocks.frames, dict(blocks.tags), attempt)
