"""Unmodified NetX on Lava, in a process without the tests.

Lava forks a process for every one of its own. Forks of the process of the tests, which holds the
threads of all libraries that ran before, were seen to wait for ever on Python 3.12.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.lava_cpu import newer_python

PATIENCE = 200.0  # seconds; a run takes a few


def run_netx(
    path: Path,
    stream: npt.NDArray[Any],
    *,
    shape: Sequence[int] | None = None,
    driven: bool = False,
    every: bool = False,
    **arguments: int,
) -> list[npt.NDArray[Any]]:
    """What layers of unmodified NetX send, each (W, H, C, T) or (N, T).

    Args:
        stream: what its input receives, (W, H, C, T) or (N, T).
        shape: the shape that NetX is told of the input, if any.
        driven: the first layer is NetX's input layer, whose neurons receive the stream.
        every: all layers, not only the last.
        arguments: others of NetX.
    """
    if shape is not None:
        arguments["input_shape"] = tuple(shape)  # type: ignore[assignment]
    run = _apart().submit(_run, str(path), stream, driven, every, arguments)
    try:
        return run.result(PATIENCE)
    except (TimeoutError, BrokenProcessPool):
        for process in _apart()._processes.values():
            process.kill()
        _apart.cache_clear()
        raise


@cache
def _apart() -> ProcessPoolExecutor:
    """One process for all runs, which imports Lava once; a new one after a run that did not end."""
    return ProcessPoolExecutor(1, get_context("spawn"), _begin)


def _begin() -> None:
    """Lava sets how processes start, which is set already in a process that was started so."""
    multiprocessing.set_start_method = partial(multiprocessing.set_start_method, force=True)
    newer_python.prepare()


def _run(
    path: str, stream: npt.NDArray[Any], driven: bool, every: bool, arguments: dict[str, Any]
) -> list[npt.NDArray[Any]]:
    from lava.lib.dl.netx import hdf5
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    steps = stream.shape[-1]
    network = hdf5.Network(net_config=path, **arguments)
    source = Source(data=stream.astype(np.int32))
    source.s_out.connect(network.in_layer.neuron.a_in if driven else network.inp)
    outs = [layer.out for layer in network.layers] if every else [network.out]
    sinks = [Sink(shape=out.shape, buffer=steps) for out in outs]
    for out, sink in zip(outs, sinks, strict=True):
        out.connect(sink.a_in)
    try:
        network.run(RunSteps(steps), Loihi2SimCfg(select_tag="fixed_pt"))
        return [np.array(sink.data.get()) for sink in sinks]
    finally:
        network.stop()
