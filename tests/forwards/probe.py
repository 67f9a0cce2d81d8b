"""What capture makes of a network: equal in every population, refused with a line, or a fault."""

from __future__ import annotations

import random
import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import neuroport as port
from neuroport.capture import slayer as capture
from neuroport.errors import IllegalError, NeuroportError
from tests.forwards import native, slayer
from tests.forwards.networks import Drawn

FAMILIES = {"native": native.network, "slayer": slayer.network}
NO_NETWORK = "no network"  # its own forward pass raises
GOOD = ("equal", "refused")


@dataclass
class Found:
    """``outcome`` is equal, refused, no network, or what is wrong."""

    seed: int
    family: str
    outcome: str
    said: str
    pranks: list[str]
    ways: list[str]
    populations: int = 0
    positions: int = 0


def probe(family: str, seed: int) -> Found:
    """Draw a network and capture it."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        drawn = FAMILIES[family](seed)
        with torch.no_grad():
            x = drawn.x if isinstance(drawn.x, torch.Tensor) else torch.from_numpy(drawn.x).float()
            inner = getattr(drawn.net, "_orig_mod", drawn.net)  # nothing is compiled here
            inner(x.clone())
    except Exception as error:
        return Found(seed, family, NO_NETWORK, f"{type(error).__name__}: {error}"[:200], [], [])
    finally:
        if "drawn" in locals():
            drawn.net.zero_grad()
    found = Found(seed, family, "", "", drawn.pranks, sorted(drawn.ways))
    modes = [module.training for module in drawn.net.modules()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome, found.populations, found.positions = _compared(family, drawn)
        found.outcome = "equal" if not outcome else "differs"
        found.said = outcome
    except NeuroportError as error:
        found.said = str(error)
        found.outcome = "refused" if _names_a_line(drawn, str(error)) else "names no line"
    except Exception as error:
        found.outcome, found.said = "traceback", f"{type(error).__name__}: {error}"
    finally:
        drawn.remove()
    if [module.training for module in drawn.net.modules()] != modes:
        found.outcome = "modes changed"
    own = getattr(drawn.net, "_orig_mod", drawn.net)
    if (
        any("forward" in vars(m) for m in own.modules())
        and "a forward replaced" not in drawn.pranks
    ):
        found.outcome = "forward left replaced"
    return found


def _names_a_line(drawn: Drawn, said: str) -> bool:
    return bool(re.search(rf"{re.escape(drawn.file)}:\d+|networks\.py:\d+", said))


def _compared(family: str, drawn: Drawn) -> tuple[str, int, int]:
    net: Any = drawn.net
    if family == "native":
        frames = drawn.x
        graph = port.quantize(net, frames)
        want = port.run(net, frames)
    else:
        frames = capture.frames(net, drawn.x)
        graph = port.quantize(net, frames)
        want = capture.record(net, drawn.x)
    try:
        lowered = port.lower(graph)
    except IllegalError:  # sums too wide for a chip: the graph itself is compared
        lowered = graph
    outcome = port.compare(want, port.run(lowered, frames, on="reference"))
    populations = len(graph.populations)
    if outcome.differing or outcome.only_want:
        return str(outcome), populations, outcome.positions
    return "", populations, outcome.positions
