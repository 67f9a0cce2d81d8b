"""Networks of lava-dl SLAYER blocks: capture them as a graph, and run them in SLAYER.

``port.quantize(net, frames)`` reads any ``nn.Module`` that calls blocks of
``lava.lib.dl.slayer.block.{cuba,rf,rf_iz,sigma_delta}`` and adds their outputs. SLAYER quantizes
its own weights, so no grid is chosen here: the graph computes exactly what SLAYER computes on the
CPU in evaluation mode, as long as SLAYER's states fit in 24 bits.

The synapses and neurons of blocks may be called separately, ``neuron(synapse(x) + shortcut)``: sums
of synapses' outputs are membrane shortcuts.

*Time.* With ``delay_shift``, every SLAYER block answers one step late. After n blocks everything is
n steps late, and the last n steps are cut off. In ideal time a graph has no such delay, and by
default it is removed: a population's step t is SLAYER's step ``t + shift``, where ``shift`` is the
number of shifted blocks before it (:func:`record` accounts for this). If a block is active without
input (it has a bias), or branches of different depth meet, the delay is more than a shift. It then
becomes a delay of the graph, so that the answers equal SLAYER's. ``keep_shift=True`` keeps every
shift as a delay, so that step t is SLAYER's step t everywhere.

*Frames.* :func:`frames` converts the module's input, (N, *shape, T), to the graph's frames,
integers (T, N, *shape). Without an ``Input`` block these are the same numbers. The host applies an
``Input`` block's weight and bias, and the graph contains its neurons. If the weight makes currents
finer than integers (it is not a multiple of 0.5), the block's spikes are the frames instead.
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
    """Return the graph of ``net`` for ``frames`` (T, N, *shape); only shape, T and range matter.

    Args:
        keep_shift: keep every step of ``delay_shift`` as a delay of the graph.

    Raises:
        CaptureError: a graph cannot express a block, an option or an operation; the error names the
            block, the reason and the nearest alternative.
    """
    from neuroport.capture.slayer.network import capture

    return capture(net, frames, keep_shift=keep_shift).graph


def frames(net: nn.Module, x: Tensor) -> npt.NDArray[np.int64]:
    """Return the graph's frames (T, N, *shape) for the module's ``x`` (N, *shape, T).

    Raises:
        CaptureError: see :func:`integer_graph`.
        FramesError: ``x`` does not hold integers, and there is no ``Input`` block.
    """
    from neuroport.capture.slayer.recording import frames

    return frames(net, x)


def record(net: nn.Module, x: Tensor, *, keep_shift: bool = False) -> Trace:
    """Run ``net`` on ``x`` (N, *shape, T) and record every population of its graph.

    SLAYER runs its CPU code in evaluation mode, with as many additional steps as its shifts cut
    off.

    Raises:
        CaptureError: see :func:`integer_graph`.
        RangeError: a state exceeded 24 bits, so that SLAYER and the hardware would differ.
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

    The frames are those after an ``Input`` block's encoding; see :func:`frames`.

    Args:
        batch: number of samples that run together.
        record, count, granularity: see :func:`neuroport.runs.recording.recording`.

    Raises:
        CaptureError, RangeError: see :func:`record`.
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
