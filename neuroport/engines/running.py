"""Run a network on an engine: once, or prepared to run often."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from neuroport.arguments import as_array, is_engine, is_network, optional, takes
from neuroport.engines.table import DEFAULT, MODULE, ready

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    from neuroport.engines.engine import Prepared
    from neuroport.graph.graph import Graph
    from neuroport.runs.shards import Shard
    from neuroport.runs.trace import Trace

TIMING = ("delay_shift", "free_running")  # what a stock NetX file does not state


@takes(network=is_network, frames=as_array, on=is_engine)
def run(
    network: Graph | nn.Module | str | os.PathLike[str],
    frames: npt.ArrayLike,
    on: str | None = None,
    *,
    shard: str | Shard | None = None,
    **options: Any,
) -> Trace:
    """Run a network on frames and record every population.

    Args:
        network: a graph, the path of a ``.net`` or ``.graph`` file (or of a stock NetX file, whose
            input and steps follow from the frames), or a torch module: one of neuroport after
            quantization, or one of lava-dl SLAYER's blocks.
        frames: integers (T, N, C, H, W); states reset between the N samples.
        on: ``reference`` (the default for a graph or a file), ``fast``, ``lava-cpu``, ``loihi2``,
            or the engine of another package. A torch module runs its own forward pass (``module``,
            its default); on another engine its graph runs.
        shard: ``"2/4"`` runs the second of four parts of the samples; :func:`merge` joins them.
        options: options of the engine: fields of its ``Options``, such as
            :class:`neuroport.engines.lava_cpu.LavaOptions`. ``record="counts"`` records the number
            of messages instead of the messages (:func:`neuroport.runs.recording.recording`).
            ``progress`` is called with the number of finished samples and N. For a stock NetX file
            also ``delay_shift`` and ``free_running`` of :func:`neuroport.netx.read`.

    Raises:
        BackendError: the engine is unknown, missing or failed, or lacks an option.
        CaptureError: the torch module is still real-valued, or has no graph.
        FramesError, FormatError, IllegalError: frames, file or graph are invalid.
        RangeError: a population exceeded a width that is declared but not proven, see
            :func:`neuroport.quantize`.
    """
    from neuroport.errors import BackendError, RangeError
    from neuroport.runs.shards import samples_of

    progress = options.pop("progress", None)
    if progress is not None and not callable(progress):
        raise BackendError(f"progress is {progress!r:.100}; give a function (done, total)")
    data: npt.NDArray[Any] = frames  # type: ignore[assignment]  # an array by now
    samples, told = samples_of(shard, data) if shard is not None else (None, None)
    with prepare(network, on, frames=data, **options) as prepared:
        try:
            trace = prepared.run(data if samples is None else data[:, samples], progress=progress)
        except RangeError as error:
            raise error.later(samples.start if samples is not None else 0) from None
    return trace if told is None else replace(trace, provenance={**trace.provenance, "shard": told})


@takes(network=is_network, frames=optional(as_array), on=is_engine)
def prepare(
    network: Graph | nn.Module | str | os.PathLike[str],
    on: str | None = None,
    *,
    frames: npt.ArrayLike | None = None,
    **options: Any,
) -> Prepared:
    """Prepare a network on an engine: plan it once, then run it often.

    ::

        with port.prepare(graph, on="fast") as prepared:
            for frames in batches:
                trace = prepared.run(frames)

    Args:
        network, on, options: see :func:`run`.
        frames: example frames (T, N, *shape), of which only shape, steps and range matter; needed
            for a stock NetX file, and for a torch module on an engine that runs graphs.

    Raises:
        NeuroportError: see :func:`run`; raised before any frames run.
    """
    from neuroport.errors import BackendError

    data: npt.NDArray[Any] | None = frames  # type: ignore[assignment]  # an array by now
    timing = {name: options.pop(name) for name in TIMING if name in options}
    is_path = isinstance(network, (str, os.PathLike))
    if timing and not is_path:
        raise BackendError(
            f"{' and '.join(timing)}: for stock NetX files, which do not say when layers begin; "
            "leave out"
        )
    is_module = not is_path and _is_module(network)
    if on is None:
        on = MODULE if is_module else DEFAULT
    found = ready(on, options)
    if found.takes_modules and not is_module:
        raise BackendError(
            f"engine {found.name!r} runs the forward pass of a torch module, which a graph "
            f"does not have; run it on {DEFAULT!r}, or give the module"
        )
    graph: Any = network
    if is_path:
        graph = read_file(network, data, timing)  # type: ignore[arg-type]
    elif is_module and not found.takes_modules:
        graph = _captured(network, data)  # type: ignore[arg-type]
    return found.prepare(graph, **options)


def _is_module(network: Any) -> bool:
    from neuroport.graph.graph import Graph

    return not isinstance(network, Graph)


def read_file(
    path: str | os.PathLike[str], frames: npt.NDArray[Any] | None, timing: dict[str, bool]
) -> Graph:
    """Read the network in a file; a stock one gets shape, steps and range of all frames."""
    from neuroport.netx import read, stock

    return read(path, frames=frames if stock.is_stock(path) else None, **timing)


def _captured(net: nn.Module, frames: npt.NDArray[Any] | None) -> Graph:
    """Return the graph of a module in its integer phase."""
    from neuroport.capture.frontend import front_end_of
    from neuroport.errors import FramesError

    if frames is None:
        raise FramesError(
            "a torch module does not state the shape of its input: give prepare(..., "
            "frames=...) some frames, or prepare its graph, port.quantize(net, frames)"
        )
    return front_end_of(net).graph(net, frames)
