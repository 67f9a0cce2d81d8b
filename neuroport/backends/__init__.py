"""Engines: whatever runs a network returns the same :class:`~neuroport.runs.trace.Trace`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from neuroport.arguments import as_array, is_network, takes

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    from neuroport.graph.graph import Graph
    from neuroport.runs.trace import Trace

TIMING = ("delay_shift", "free_running")  # what a stock NetX file does not say


@takes(network=is_network, frames=as_array)
def run(
    network: Graph | nn.Module | str | os.PathLike[str],
    frames: npt.ArrayLike,
    on: str | None = None,
    **options: Any,
) -> Trace:
    """Run a network on frames and record every population.

    Args:
        network: a graph, the path of a ``.net`` or ``.graph`` file (or of a stock NetX file, whose
            input and steps are those of the frames), or a torch module: neuroport's after its
            quantization, or one of lava-dl SLAYER's blocks.
        frames: integers (T, N, C, H, W); states reset between the N samples.
        on: ``reference`` (for a graph or a file, where ``None``), ``fast`` or ``lava-cpu``; see
            :func:`neuroport.backends.base.backends`. A torch module runs its own forward pass:
            ``module`` or ``None``.
        options: passed to the engine: ``record="counts"`` keeps how many messages there were and
            not the messages (:func:`neuroport.runs.recording.recording`); ``deadline=600`` is
            for Lava, ``processes="fused"`` and ``workers=2`` for its CPU simulator
            (:meth:`neuroport.backends.lava_cpu.engine.LavaCpu.run`); ``site="site.toml"`` says
            where a board is, for ``loihi2``. Those of a stock NetX file, ``delay_shift`` and
            ``free_running``, are :func:`neuroport.netx.read`'s.

    Raises:
        BackendError: unknown or missing engine, or it failed; or a torch module on an engine, which
            runs the graph that :func:`neuroport.quantize` makes of it.
        FramesError, FormatError, IllegalError: bad frames, a bad file, an illegal graph.
    """
    from neuroport.backends.base import backend, check_options
    from neuroport.errors import BackendError
    from neuroport.graph.graph import Graph
    from neuroport.netx import read, stock

    data: npt.NDArray[Any] = frames  # type: ignore[assignment]  # an array by now
    timing = {name: options.pop(name) for name in TIMING if name in options}
    if timing and not isinstance(network, (str, os.PathLike)):
        raise BackendError(
            f"{' and '.join(timing)}: for stock NetX files, which do not say when layers begin; "
            "leave out"
        )
    if isinstance(network, (Graph, str, os.PathLike)):
        engine = backend(on or "reference", options.get("site"))
        check_options(engine.run, engine.name, options)
        if isinstance(network, Graph):
            return engine.run(network, data, **options)
        if stock.is_stock(network):
            return engine.run(read(network, frames=data, **timing), data, **options)
        if on == "lava-cpu":
            options["path"] = network
        return engine.run(read(network, **timing), data, **options)
    if on not in (None, "module"):
        raise BackendError(
            f"a torch module runs its own forward pass, not {on!r}: leave on= out, or run its "
            f"graph, port.run(port.quantize(net, frames), frames, on={on!r})"
        )
    from neuroport.backends.module import run_module
    from neuroport.capture import slayer

    if slayer.is_slayer(network):
        check_options(slayer.run, "slayer", options)
        return slayer.run(network, data, **options)
    check_options(run_module, "module", options)
    return run_module(network, data, **options)
