"""Engines: whatever runs a network returns the same :class:`~neuroport.backends.trace.Trace`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from neuroport.arguments import as_array, is_network, takes

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    from neuroport.backends.trace import Trace
    from neuroport.graph.graph import Graph


@takes(network=is_network, frames=as_array)
def run(
    network: Graph | nn.Module | str | os.PathLike[str],
    frames: npt.ArrayLike,
    on: str = "reference",
    **options: Any,
) -> Trace:
    """Run a network on frames and record every population.

    Args:
        network: a graph, the path of a ``.net`` or ``.graph`` file (or of a stock NetX file, whose
            samples last as long as the frames), or a torch module after its quantization (which
            runs itself, whatever ``on`` says).
        frames: integers (T, N, C, H, W); states reset between the N samples.
        on: ``reference``, ``fast`` or ``lava-cpu``; see :func:`neuroport.backends.base.backends`.
        options: passed to the engine: ``record="counts"`` keeps how many messages there were and
            not the messages (:func:`neuroport.backends.counting.recording`); ``deadline=600`` is
            for Lava, ``processes="fused"`` and ``workers=2`` for its CPU simulator
            (:meth:`neuroport.backends.lava_cpu.engine.LavaCpu.run`); ``site="site.toml"`` says
            where a board is, for ``loihi2``.

    Raises:
        BackendError: unknown or missing engine, or it failed.
        FramesError, FormatError, IllegalError: bad frames, a bad file, an illegal graph.
    """
    from neuroport.backends.base import backend, check_options
    from neuroport.graph.graph import Graph
    from neuroport.netx import read, stock

    data: npt.NDArray[Any] = frames  # type: ignore[assignment]  # an array by now
    if isinstance(network, (Graph, str, os.PathLike)):
        engine = backend(on, options.get("site"))
        check_options(engine.run, on, options)
    if isinstance(network, Graph):
        return engine.run(network, data, **options)
    if isinstance(network, (str, os.PathLike)):
        if stock.is_stock(network):
            steps = len(data) if data.ndim else None
            return engine.run(stock.read(network, steps=steps), data, **options)
        if on == "lava-cpu":
            options["path"] = network
        return engine.run(read(network), data, **options)
    from neuroport.backends.module import run_module

    check_options(run_module, "module", options)
    return run_module(network, data, **options)
