"""Engines: whatever runs a network returns the same :class:`~neuroport.runs.trace.Trace`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    from neuroport.graph.graph import Graph
    from neuroport.runs.trace import Trace


def run(
    network: Graph | nn.Module | str | os.PathLike[str],
    frames: npt.ArrayLike,
    on: str | None = None,
    **options: Any,
) -> Trace:
    """Run a network on frames and record every population.

    Args:
        network: a graph, the path of a ``.net`` or ``.graph`` file (or of a stock NetX file, whose
            samples last as long as the frames), or a torch module after its quantization.
        frames: integers (T, N, C, H, W); states reset between the N samples.
        on: ``reference`` (for a graph or a file, where ``None``), ``fast`` or ``lava-cpu``; see
            :func:`neuroport.backends.base.backends`. A torch module runs its own forward pass:
            ``module`` or ``None``.
        options: passed to the engine: ``record="counts"`` keeps how many messages there were and
            not the messages (:func:`neuroport.runs.recording.recording`); ``deadline=600`` is
            for Lava, ``processes="fused"`` and ``workers=2`` for its CPU simulator
            (:meth:`neuroport.backends.lava_cpu.engine.LavaCpu.run`); ``site="site.toml"`` says
            where a board is, for ``loihi2``.

    Raises:
        BackendError: unknown or missing engine, or it failed; or a torch module on an engine, which
            runs the graph that :func:`neuroport.quantize` makes of it.
        FramesError, FormatError, IllegalError: bad frames, a bad file, an illegal graph.
    """
    from neuroport.backends.base import backend
    from neuroport.errors import BackendError
    from neuroport.graph.graph import Graph
    from neuroport.netx import read, stock

    data = np.asarray(frames)
    if isinstance(network, (Graph, str, os.PathLike)):
        engine = backend(on or "reference", options.get("site"))
        if isinstance(network, Graph):
            return engine.run(network, data, **options)
        if stock.is_stock(network):
            steps = len(data) if data.ndim else None
            return engine.run(stock.read(network, steps=steps), data, **options)
        if on == "lava-cpu":
            options["path"] = network
        return engine.run(read(network), data, **options)
    if on not in (None, "module"):
        raise BackendError(
            f"a torch module runs its own forward pass, not {on!r}: leave on= out, or run its "
            f"graph, port.run(port.quantize(net, frames), frames, on={on!r})"
        )
    from neuroport.backends.module import run_module

    return run_module(network, data, **options)
