"""Pictures of networks and runs, drawn with matplotlib (the extra ``plot``).

Every function takes ``ax``, the axes to draw on (new ones if it is left out), and returns the axes.

    from neuroport import plot
    plot.raster(trace, "blocks.0.neuron1")
    plot.divergence(want, got)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.chip_loads import loads
from neuroport.analysis.compare import Divergence, compare
from neuroport.analysis.labels import check_labels
from neuroport.analysis.operations import messages
from neuroport.analysis.recorded_outputs import check_trace, received, told
from neuroport.arguments import (
    as_array,
    as_labels,
    is_graph,
    is_path,
    is_trace,
    takes,
    whole_number,
)
from neuroport.backends.executor import Starts, arriving_at
from neuroport.backends.reference import states
from neuroport.errors import BackendError, CompareError, FramesError, TrainingError, printable
from neuroport.graph import integers
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Population, per_neuron
from neuroport.graph.node import Synapse
from neuroport.runs.accuracy import confusion as counted
from neuroport.runs.frames import check_frames_of
from neuroport.runs.trace import Trace, is_readout, is_spiking
from neuroport.targets.resources import TITLES, resources
from neuroport.targets.target import Target, load_chip, require_chip
from neuroport.training.metrics import read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NEURONS = 2000  # that a raster can show apart
ACROSS = 12  # pictures in a row
LONGEST = 48  # characters of a name
MOST_CLASSES = 1000  # of a confusion matrix
_SAMPLE = whole_number(0, CompareError)


def _text(name: str) -> str:
    """A name as it stands: matplotlib would set what is between two dollars as a formula.

    The middle of a long one is left out, or no room would be left for the picture.
    """
    said = printable(name)
    short = said if len(said) <= LONGEST else f"{said[:18]}…{said[-(LONGEST - 19) :]}"
    return short.replace("$", r"\$")


def _axes(ax: Axes | None, number: int = 1) -> list[Axes]:
    """Axes to draw on: new ones, or ``number`` places in those that were given."""
    try:
        import matplotlib.pyplot as plt
        from matplotlib.axes import Axes as Drawable
    except ImportError as error:
        raise BackendError(
            "neuroport.plot needs matplotlib; pip install '.[plot]' in neuroport's folder"
        ) from error
    if ax is not None and not isinstance(ax, Drawable):
        raise CompareError(
            f"ax is a {type(ax).__name__}; give the axes to draw on, one, such as "
            "plt.figure().add_subplot(), or leave it out"
        )
    if ax is None:
        rows, columns = -(-number // ACROSS), min(number, ACROSS)
        size = (4.8, 3.6) if rows == 1 else (2.4, 1.8)
        figure, made = plt.subplots(
            rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False
        )
        figure.set_layout_engine("constrained")
        for spare in made.flat[number:]:
            spare.axis("off")
        return list(made.flat[:number])
    if number == 1:
        return [ax]
    ax.axis("off")
    width = 1 / number
    return [ax.inset_axes((at * width, 0, 0.9 * width, 1)) for at in range(number)]


def _steps(ax: Axes, label: str = "step") -> None:
    """Whole numbers along the bottom."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel=label)


def _messages(trace: Trace, population: str, sample: int) -> npt.NDArray[Any]:
    """(T, *shape) of one sample.

    Raises:
        CompareError: the trace has no messages of it, or no such sample.
    """
    if population not in list(trace.kinds):
        raise CompareError(
            f"the trace has no population {population!r}; it has {', '.join(trace.kinds)}"
        )
    if sample >= trace.samples:
        raise CompareError(f"sample {sample}: the trace has {trace.samples}, from 0 on")
    return trace[population][:, sample]


@takes(trace=is_trace, sample=_SAMPLE)
def raster(trace: Trace, population: str, sample: int = 0, *, ax: Axes | None = None) -> Axes:
    """Plot the messages of a population in one sample: a dot for each, by step and neuron.

    Of a population of more than 2,000 neurons the share of each channel that fires is shown.

    Raises:
        CompareError: the trace has no messages of that population, or no such sample.
    """
    sent = _messages(trace, population, sample)
    (ax,) = _axes(ax)
    flat = sent.reshape(len(sent), -1) != 0
    if flat.shape[1] <= MOST_NEURONS:
        steps, neurons = np.nonzero(flat)
        first = trace.steps - len(sent)  # of a readout the last step may be all there is
        ax.scatter(first + steps, neurons, s=14, marker="|", color="C0")
        ax.set(xlim=(-0.5, trace.steps - 0.5), ylim=(-0.5, flat.shape[1] - 0.5), ylabel="neuron")
    else:
        shares = flat.reshape(len(sent), sent.shape[1], -1).mean(axis=2)
        image = ax.imshow(shares.T, aspect="auto", origin="lower", vmin=0, interpolation="none")
        ax.figure.colorbar(image, ax=ax, label="share that fires")
        ax.set(ylabel="channel")
    _steps(ax)
    ax.set(title=f"{_text(population)}, sample {sample}")
    return ax


@takes(trace=is_trace, sample=_SAMPLE, channel=_SAMPLE)
def maps(
    trace: Trace,
    population: str,
    sample: int = 0,
    *,
    channel: int | None = None,
    ax: Axes | None = None,
) -> list[Axes]:
    """A feature map (C, H, W) over the steps of one sample, a picture for each step.

    Args:
        channel: the channel to show; without it what all channels sent is added up.

    Raises:
        CompareError: the population has no maps, or no such channel.
    """
    sent = _messages(trace, population, sample)
    if sent.ndim != 4:
        raise CompareError(f"{population} is {sent.shape[1:]}, which is no map (C, H, W)")
    if channel is not None and channel >= sent.shape[1]:
        raise CompareError(f"channel {channel}: {population} has {sent.shape[1]}, from 0 on")
    shown = sent.sum(axis=1, dtype=np.int64) if channel is None else sent[:, channel]
    made = _axes(ax, len(shown))
    low, high = min(0, int(shown.min())), max(1, int(shown.max()))
    for step, (one, each) in enumerate(zip(made, shown, strict=True), trace.steps - len(shown)):
        one.imshow(each, vmin=low, vmax=high, interpolation="none")
        one.set(title=f"step {step}", xticks=[], yticks=[])
    what = "all channels" if channel is None else f"channel {channel}"
    made[0].set(ylabel=f"{_text(population)}, {what}")
    return made


@takes(trace=is_trace)
def activity(trace: Trace, *, ax: Axes | None = None) -> Axes:
    """Share of the neurons of every spiking population that fire in a step, on average.

    Raises:
        CompareError: the trace has no spiking population, or counts of channels or layers only.
    """
    rates = {}
    for name, kind in trace.kinds.items():
        if is_spiking(kind) and (name in trace.messages or trace.granularity == "neuron"):
            shape = (trace.counts if name in trace.counts else trace.messages)[name].shape
            neurons = int(np.prod(shape[1:] if name in trace.counts else shape[2:]))
            rates[name] = trace.sent(name) / (neurons * trace.steps * trace.samples)
    if not rates:
        raise CompareError(
            "the trace holds no spikes of single neurons; record messages, or counts per neuron"
        )
    (ax,) = _axes(ax)
    names = list(rates)
    ax.barh(range(len(names)), [100 * rates[name] for name in names])
    ax.set_yticks(range(len(names)), [_text(name) for name in names])
    ax.invert_yaxis()
    ax.set(xlabel="neurons that fire in a step, %")
    return ax


@takes(graph=is_graph, trace=is_trace, frames=as_array, sample=_SAMPLE)
def potential(
    graph: Graph,
    trace: Trace,
    frames: npt.NDArray[Any],
    population: str,
    neuron: tuple[int, ...],
    sample: int = 0,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Current, potential before any reset, threshold and spikes of one neuron over a sample.

    Potentials are in the unit of the threshold, of a readout in that of the trace; recomputed from
    what the trace recorded of the populations before it, by the lines of the neuron's kind.

    Raises:
        CompareError: the network has no such population or neuron, the trace no messages of it or
            no such sample, or it is of another network or other frames.
        FramesError: the frames do not fit the graph.
    """
    node = next((node for node in graph.populations if node.name == population), None)
    if node is None:
        raise CompareError(f"the network has no population {population!r}")
    shape = graph.facts(population).shape
    neuron = _place(neuron, population, shape)
    check_trace(graph, trace)
    check_frames_of(graph, trace, frames)
    sent = _messages(trace, population, sample)
    if sent.shape != (graph.steps, *shape):
        raise CompareError(
            f"{population}: the trace holds {sent.shape} of a sample, the graph makes it "
            f"{(graph.steps, *shape)}; give the graph that was run, and messages of every step"
        )
    assert isinstance(node, Population)
    current = arriving_at(node, received(graph, trace, frames, population, sample))
    found = states(node, current, Starts(0, graph.steps))
    unit = 1 << (node.threshold_shift or 0)
    (ax,) = _axes(ax)
    at: Any = (slice(None), 0, *neuron)
    own: Any = (slice(None), *neuron)
    ax.plot(current[at], drawstyle="steps-mid", color="C7", label="current")
    if "v" in found:
        ax.plot(found["v"][at] / unit, marker="o", markersize=3, color="C0", label="potential")
    constants = {field: values for field, _, values in node.constants()}
    if node.threshold_shift is not None and "threshold" in constants:
        limit = int(per_neuron(np.atleast_1d(constants["threshold"]), shape)[neuron])
        ax.axhline(limit, color="C3", linestyle="--", label="threshold")
    if not is_readout(node.kind):
        for step in np.flatnonzero(sent[own]):
            ax.axvline(int(step), color="C3", alpha=0.3)
    _steps(ax)
    ax.set(title=f"{_text(population)} {neuron}, sample {sample}")
    ax.legend()
    return ax


def _place(neuron: Any, population: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The position of a neuron, which must lie in ``shape``; a number in a flat population."""
    places = neuron if isinstance(neuron, (tuple, list)) else (neuron,)
    found = tuple(whole_number(0, CompareError)(at, "neuron") for at in places)
    if len(found) != len(shape) or any(at >= size for at, size in zip(found, shape, strict=True)):
        raise CompareError(f"neuron {found}: {population} is {shape}")
    return found


@takes(graph=is_graph)
def weights(graph: Graph, synapse: str, *, ax: Axes | None = None) -> Axes:
    """Plot a histogram of a synapse's nonzero integer weights; its title says the share of zeros.

    Raises:
        CompareError: the network has no such synapse.
    """
    node = next((node for node in graph.synapses if node.name == synapse), None)
    if not isinstance(node, Synapse):
        names = ", ".join(each.name for each in graph.synapses)
        raise CompareError(f"the network has no synapse {synapse!r}; it has {names}")
    values, counts = np.unique(node.weight, return_counts=True)
    zeros = int(counts[values == 0].sum())
    (ax,) = _axes(ax)
    kept = values != 0
    apart = min([2, *np.diff(values[kept])])  # of bars, which do not overlap
    ax.bar(values[kept], counts[kept], width=0.8 * apart)
    ax.set(
        xlabel="integer weight",
        ylabel="how many",
        title=f"{_text(synapse)}: {len(values)} values, {zeros / node.weight.size:.0%} zero",
    )
    return ax


@takes(graph=is_graph)
def thresholds(graph: Graph, *, ax: Axes | None = None) -> Axes:
    """Plot the integer threshold of every population, from its least channel to its largest.

    A threshold of so many units is what the grid resolves below it; 131,071 is the most that its
    17 bits hold.

    Raises:
        CompareError: the network has no population with a threshold.
    """
    found = {}
    for node in graph.populations:
        for field, what, values in node.constants():
            if field == "threshold" and what.fits is not None:
                found[node.name] = (int(np.min(values)), int(np.max(values)))
    if not found:
        raise CompareError("no population of the network has a threshold; there is nothing to show")
    (ax,) = _axes(ax)
    rows = range(len(found))
    low, high = (np.array([each[at] for each in found.values()]) for at in (0, 1))
    ax.hlines(rows, np.maximum(low, 0.5), high, color="C0", linewidth=5)
    ax.plot(high, rows, "o", color="C0")
    ax.axvline(integers.THRESHOLD_MAX, color="C3", linestyle="--", label="17 bits")
    ax.set_yticks(rows, [_text(name) for name in found])
    ax.invert_yaxis()
    ax.set(xscale="log", xlabel="threshold, units of the current")
    ax.legend()
    return ax


@takes(graph=is_graph, trace=is_trace, frames=as_array)
def ranges(graph: Graph, trace: Trace, frames: npt.NDArray[Any], *, ax: Axes | None = None) -> Axes:
    """Plot how far each population's summed current goes: on the frames, and in the worst case.

    The worst case is what the graph proves from its weights for any frames. Both are in percent of
    what the hardware holds: 17 bits of a neuron that integrates, 24 of a relay.

    Args:
        trace: a run on ``frames`` (T, N, *shape); what it did not record is computed again.

    Raises:
        CompareError: the trace is of another network or other frames.
        FramesError: the frames do not fit the graph.
    """
    check_trace(graph, trace)
    check_frames_of(graph, trace, frames)
    rows: dict[str, tuple[float, ...]] = {}
    for node in graph.populations:
        facts = graph.facts(node.name)
        assert isinstance(node, Population)
        limit = integers.CURRENT_MAX if node.proves_current else integers.MESSAGE_MAX
        current = arriving_at(node, told(graph, trace, frames, node.inputs))
        ends = (facts.reach_low.min(), facts.reach_high.max(), current.min(), current.max())
        rows[node.name] = tuple(100 * int(end) / limit for end in ends)
    (ax,) = _axes(ax)
    at = np.arange(len(rows))
    low, high, least, most = np.array(list(rows.values())).T
    ax.barh(at, high - low, left=low, height=0.8, color="C7", alpha=0.4, label="proven")
    ax.barh(at, most - least, left=least, height=0.4, color="C0", label="on these frames")
    ax.axvline(0, color="black", linewidth=0.5)
    ax.set_yticks(at, [_text(name) for name in rows])
    ax.invert_yaxis()
    ax.set(xlabel="summed current, % of what the hardware holds")
    ax.legend()
    return ax


@takes(folder=is_path)
def gradients(folder: str | os.PathLike[str], *, ax: Axes | None = None) -> Axes:
    """Plot the gradient norm of every block over the epochs of a training.

    Args:
        folder: of ``neuroport train`` or :func:`neuroport.fit`.

    Raises:
        StorageError: no such folder.
        FormatError: its metrics are not those of a training.
        TrainingError: no epoch in it tells gradients.
    """
    epochs = [epoch for epoch in read_metrics(folder) if epoch.gradients]
    if not epochs:
        raise TrainingError(
            f"{folder}: no epoch has gradients; train one with a version of neuroport that "
            "measures them"
        )
    (ax,) = _axes(ax)
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch.gradients))
    shades = _shades(len(names))
    for name, shade in zip(names, shades, strict=True):
        own = [(e.epoch, e.gradients[name]) for e in epochs if name in e.gradients]
        ax.plot(*zip(*own, strict=True), marker="o", markersize=3, color=shade, label=_text(name))
    whole = [epoch.epoch for epoch in epochs if epoch.phase == "quantized"]
    if whole:
        ax.axvspan(whole[0] - 0.5, whole[-1] + 0.5, color="C1", alpha=0.1, label="integers")
    _steps(ax, "epoch")
    ax.set(ylabel="gradient norm", yscale="log")
    ax.legend(fontsize="small", ncols=1 + len(names) // 12)
    return ax


def _shades(number: int) -> list[Any]:
    """Colours from the first block to the last."""
    from matplotlib import colormaps

    return [colormaps["viridis"](at / max(number - 1, 1)) for at in range(number)]


@takes(want=is_trace, got=is_trace)
def divergence(want: Trace, got: Trace, *, ax: Axes | None = None) -> list[Axes]:
    """Plot a population's messages at the first step at which two runs differ, and the difference.

    A map's channels other than that of the first differing neuron are left out.

    Raises:
        CompareError: the runs do not differ, or differ in counts alone.
    """
    first = compare(want, got).first
    if first is None:
        raise CompareError("no message of the runs differs; there is nothing to show")
    pair = [_picture(trace, first) for trace in (want, got)]
    made = _axes(ax, 3)
    low = min(0, *(int(each.min()) for each in pair))
    high = max(1, *(int(each.max()) for each in pair))
    for one, each, title in zip(made, pair, ("want", "got"), strict=False):
        one.imshow(each, vmin=low, vmax=high, interpolation="none")
        one.set(title=title, xticks=[], yticks=[])
    difference = pair[1] - pair[0]
    most = int(np.abs(difference).max())
    made[2].imshow(difference, vmin=-most, vmax=most, cmap="coolwarm", interpolation="none")
    made[2].set(title="got - want", xticks=[], yticks=[])
    row, column = (0, *first.neuron)[-2:]
    for one in made:
        one.plot(column, row, "s", markersize=13, markeredgewidth=2, fillstyle="none", color="C1")
    made[0].set(ylabel=f"{_text(first.population)}, step {first.step}, sample {first.sample}")
    return made


def _picture(trace: Trace, first: Divergence) -> npt.NDArray[np.int64]:
    held = trace[first.population]
    step = first.step - trace.steps if trace.counts else first.step  # of a readout the last, too
    sent = held[step, first.sample].astype(np.int64)
    found: npt.NDArray[np.int64] = sent[first.neuron[0]] if sent.ndim == 3 else np.atleast_2d(sent)
    return found


def _classes(value: Any, name: str) -> Trace | npt.NDArray[Any]:
    return value if isinstance(value, Trace) else as_labels(value, name)


@takes(predictions=_classes, labels=as_labels)
def confusion(
    predictions: Trace | npt.ArrayLike, labels: npt.ArrayLike, *, ax: Axes | None = None
) -> Axes:
    """Plot a confusion matrix: how many samples of each class were predicted as each class.

    Args:
        predictions: classes (N,), or a run, whose predictions are taken.

    Raises:
        FramesError: not as many labels as predictions, one that is no class, or more classes than
            a picture can hold.
        CompareError: the run has no single answer.
    """
    wanted = np.asarray(labels)
    if isinstance(predictions, Trace):
        check_labels(wanted, predictions)
        predictions = predictions.predictions
    found = np.asarray(predictions)
    most = max(int(found.max()), int(wanted.max()))
    if most >= MOST_CLASSES:
        raise FramesError(f"class {most}: a confusion matrix holds {MOST_CLASSES} classes at most")
    table = counted(found, wanted)
    size = len(table)
    (ax,) = _axes(ax)
    ax.imshow(table, cmap="Blues", vmin=0)
    for row, column in np.argwhere(table):
        dark = table[row, column] > table.max() / 2
        ax.text(
            column,
            row,
            f"{table[row, column]}",
            ha="center",
            va="center",
            color="white" if dark else "black",
        )
    ax.set(
        xlabel="predicted",
        ylabel="label",
        title=f"{np.trace(table)} of {table.sum()} right",
        xticks=range(size),
        yticks=range(size),
    )
    return ax


@takes(graph=is_graph)
def cores(graph: Graph, target: str | Target, *, ax: Axes | None = None) -> Axes:
    """Cores that each population takes of a chip, coloured by the limit that binds.

    An estimate by formulas fitted to public tables; not run on hardware.

    Raises:
        TargetError: no such target, or one without cores.
    """
    chip = require_chip(target) if isinstance(target, Target) else load_chip(target)
    found = resources(graph, chip)
    bound = list(dict.fromkeys(placed.binding for placed in found.placed))
    (ax,) = _axes(ax)
    for at, limit in enumerate(bound):
        mine = {row: p.cores for row, p in enumerate(found.placed) if p.binding == limit}
        ax.barh(list(mine), list(mine.values()), color=f"C{at}", label=TITLES[limit])
    names = [_text(placed.layer.name) for placed in found.placed]
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set(xlabel="cores", title=f"{found.cores:,} cores of {chip.name}, by estimate")
    ax.legend(title="bound by")
    return ax


@takes(graph=is_graph, trace=is_trace, frames=as_array)
def traffic(
    graph: Graph,
    trace: Trace,
    frames: npt.NDArray[Any],
    target: str | Target,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Plot the messages that each population's cores send to other cores in a sample, on average.

    Counted on the run, on the cores of :func:`cores`, once for each core that a message goes to.

    Raises:
        TargetError: no such target, or one without cores.
        CompareError: the trace belongs to another network or to other frames, or lacks messages.
    """
    chip = require_chip(target) if isinstance(target, Target) else load_chip(target)
    found = loads(graph, messages(graph, trace, frames), chip)
    (ax,) = _axes(ax)
    for relays, label in ((False, "neurons"), (True, "relays and constants")):
        mine = {
            row: load.messages
            for row, load in enumerate(found.populations)
            if load.is_relay == relays
        }
        if mine:
            ax.barh(list(mine), list(mine.values()), color=f"C{int(relays)}", label=label)
    names = [_text(load.name) for load in found.populations]
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    total = sum(load.messages for load in found.populations)
    ax.set(xlabel="messages in a sample", title=f"{total:,.0f} between cores of {chip.name}")
    ax.legend()
    return ax
