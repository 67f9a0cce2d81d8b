"""Networks of genuine lava-dl SLAYER blocks: as a graph, and run as SLAYER runs them.

``port.quantize(net, frames)`` takes any ``nn.Module`` that calls blocks of
``lava.lib.dl.slayer.block.{cuba,rf,rf_iz,sigma_delta}`` and adds what they send. SLAYER quantizes
its own weights, so nothing is chosen here: the graph computes what SLAYER computes on the CPU in
evaluation mode, to the last bit, as long as SLAYER's states fit 24 bits.

The synapses and neurons of blocks may be called alone, ``neuron(synapse(x) + shortcut)``: sums of
what synapses give are membrane shortcuts.

*Time.* With ``delay_shift``, SLAYER lets every block answer one step late: at a block behind n
others all comes n steps late, and the last n steps are cut off. A graph's own time has no such
step: by default it is removed, and a population's step t is SLAYER's step ``t + shift``, ``shift``
being the number of shifted blocks before it (:func:`record` takes that into account). Where a block
does not rest without input (it has a bias), or branches of different depth meet, the steps are no
mere shift: they become delays of the graph, and its answers stay SLAYER's. ``keep_shift=True``
makes every one a delay, so that step t is SLAYER's step t everywhere.

*Frames.* :func:`frames` makes of what the module takes, (N, *shape, T), what its graph takes,
integers (T, N, *shape). For a network without an ``Input`` block these are the same numbers. An
``Input`` block's weight and bias are the host's, its neurons the graph's, unless its weight makes
currents finer than integers (it is no multiple of 0.5): then the block's spikes are the frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn

    from neuroport.graph.graph import Graph
    from neuroport.runs.frames import Progress
    from neuroport.runs.trace import Trace


def integer_graph(net: nn.Module, frames: npt.ArrayLike, *, keep_shift: bool = False) -> Graph:
    """The graph of ``net`` for ``frames`` (T, N, *shape), of which shape, T and range matter.

    Args:
        keep_shift: make every step of ``delay_shift`` a delay of the graph.

    Raises:
        CaptureError: a block, an option or an operation that no graph expresses: names the block,
            the reason and the nearest thing that works.
    """
    from neuroport.capture.slayer.network import capture

    return capture(net, frames, keep_shift=keep_shift).graph


def frames(net: nn.Module, x: Tensor) -> npt.NDArray[np.int64]:
    """Frames (T, N, *shape) of the graph for the module's ``x`` (N, *shape, T).

    Raises:
        CaptureError: as :func:`integer_graph`.
        FramesError: ``x`` holds no integers, and no ``Input`` block makes it.
    """
    from neuroport.capture.slayer.recording import frames

    return frames(net, x)


def record(net: nn.Module, x: Tensor, *, keep_shift: bool = False) -> Trace:
    """Run ``net`` on ``x`` (N, *shape, T) and record every population of its graph.

    SLAYER runs on its CPU code in evaluation mode, for as many steps more as its shifts cut off.

    Raises:
        CaptureError: as :func:`integer_graph`.
        RangeError: a state left 24 bits, where SLAYER and the hardware differ.
    """
    from neuroport.capture.slayer.recording import record

    return record(net, x, keep_shift=keep_shift)


def run(
    net: nn.Module,
    frames: npt.NDArray[Any],
    *,
    progress: Progress | None = None,
    batch: int = 50,
    record: str = "messages",
    count: str | Sequence[str] | None = None,
    granularity: str | None = None,
) -> Trace:
    """Run ``net`` on the ``frames`` of its graph, integers (T, N, *shape), as ``port.run`` does.

    What an ``Input`` block would make of its own frames are these; see :func:`frames`.

    Args:
        batch: samples side by side.
        record, count, granularity: :func:`neuroport.runs.recording.recording`.

    Raises:
        CaptureError, RangeError: as :func:`record`.
        FramesError: the frames do not fit.
    """
    from neuroport.capture.slayer.recording import run

    return run(
        net,
        frames,
        progress=progress,
        batch=batch,
        record=record,
        count=count,
        granularity=granularity,
    )
