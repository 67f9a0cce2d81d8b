"""Random networks with declared widths: all engines are equal, or end with the same error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

import neuroport as port
from neuroport.backends.compiled_network import whole
from neuroport.backends.executor import walk
from neuroport.backends.fast import TorchArithmetic
from neuroport.engines.reference import Reference
from neuroport.graph.graph import Graph
from neuroport.lowering.latency import balance_latency
from neuroport.runs.trace import Trace
from tests.properties.declared import declared, outcome, same
from tests.properties.interpreter import interpret
from tests.tiers import examples

ENGINE = Reference()
NETWORKS = examples(40)


def first_by_hand(graph: Graph, frames: np.ndarray) -> str | None:
    """Where the first current is beyond its width, by another program, as the error says it.

    None where no current is beyond; states are left out.
    """
    values, _ = interpret(graph, frames)
    found = []
    for order, node in enumerate(graph):
        if node.name in graph.checked:
            arriving = sum((values[name] for name in node.inputs), start=np.int64(0))
            beyond = np.abs(arriving) > graph.checked[node.name]
            for step, sample in np.argwhere(beyond.any(axis=tuple(range(2, beyond.ndim)))):
                time = step + graph.facts(node.name).latency
                found.append((int(sample), int(time), order, node.name, int(step)))
    if not found:
        return None
    sample, _, _, name, step = min(found)
    return f"sample {sample}: {name}: at step {step} "


def engines(graph: Graph, lowered: Graph, frames: np.ndarray) -> dict[str, Callable[[], Trace]]:
    """Every way to run a network in this process."""
    tensors = partial(TorchArithmetic, graph, torch.device("cpu"))
    plain = {"progress": None, "time_model": "ideal", "batch": 2}
    return {
        "a sample at a time": partial(ENGINE.run, graph, frames, batch=1),
        "lowered": partial(ENGINE.run, lowered, frames),
        "chip time": partial(ENGINE.run, lowered, frames, time_model="chip"),
        "fast": partial(port.run, graph, frames, on="fast"),
        "fast, two samples at a time": partial(port.run, graph, frames, on="fast", batch=2),
        "fast, chip time": partial(port.run, lowered, frames, on="fast", time_model="chip"),
        "torch": lambda: walk(tensors(), graph, frames, **plain),
    }


def test_every_engine_is_equal_or_ends_with_the_same_error() -> None:
    seen: Counter[str] = Counter()
    for seed in range(NETWORKS):
        case = declared(seed)
        graph, frames = case.graph, case.frames
        want = outcome(partial(ENGINE.run, graph, frames), graph)
        lowered = balance_latency(graph, "delays")
        assert lowered.checked.items() >= graph.checked.items()
        runs = engines(graph, lowered, frames)
        for name, run in runs.items():
            assert same(want, outcome(run, graph)), (seed, name)
        seen["compiled"] += whole(graph, "ideal") is not None
        seen["left"] += isinstance(want, str)
        seen["kept"] += not isinstance(want, str)
        by_hand = first_by_hand(graph, frames)
        if by_hand is None:
            assert not isinstance(want, str) or "state leaves" in want
        elif isinstance(want, str) and "current is" in want:
            assert want.startswith(by_hand), seed
            seen["by hand"] += 1
        else:
            assert isinstance(want, str), seed
    assert min(seen[key] for key in ("compiled", "left", "kept", "by hand")) >= NETWORKS // 8, seen
