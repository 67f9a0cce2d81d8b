"""List the errors of unmodified NetX on a stock file, layer by layer, and count their effect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.netx_audit import faults
from neuroport.analysis.netx_audit.faults import Fault
from neuroport.errors import FormatError, GraphError, RangeError
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Node
from neuroport.hdf5 import short
from neuroport.netx import layer_starts, schema
from neuroport.netx.stock import GivenFrames
from neuroport.netx.unread_fields import Content, Path, delay_per_channel, opened, plain
from neuroport.runs.frames import check_frames

REFUSED = ("pool", "convT", "unpool", "average", "concat")
READ = ("input", "flatten", "conv", "dense", "dense_rec")
SPIKING = ("CUBA", "LOIHI")
NEURONS = (*SPIKING, "SDNN", "RF_PHASE", "RF_IZHIKEVICH")
FIELDS = {
    "input": "type shape weight bias neuron",
    "flatten": "type shape",
    "conv": "type shape inChannels outChannels kernelSize stride padding dilation groups weight "
    "bias delay neuron",
    "dense": "type shape inFeatures outFeatures weight bias delay neuron",
    "dense_rec": "type shape inFeatures outFeatures weight weight_rec bias delay neuron",
}
NEURON_FIELDS = (
    "type iDecay vDecay vThMant refDelay gradedSpike weight_exp wgtExp theta tauRho scaleRho "
    "sinDecay cosDecay activation sigma_output messageBits"
)
TRIED = (16, 4_000_000)  # steps, and positions of two samples, on which advice is tried


@dataclass(frozen=True)
class AuditFinding:
    """One error of stock NetX with a file.

    Attributes:
        layer: name of the layer in the file, ``layer/3 (conv)``.
        what: description of the error.
        changes: number of positions that differ by this error alone; None if it was not or cannot
        be counted.
        stops: whether NetX stops with an error, instead of running another network.
    """

    layer: str
    what: str
    changes: int | None = None
    stops: bool = False

    def __str__(self) -> str:
        if self.stops:
            return f"{self.layer}: {self.what} (NetX stops)"
        count = "" if self.changes is None else f": {self.changes:,} spikes differ"
        return f"{self.layer}: {self.what}{count}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Report:
    """The findings, and the network of the file, or the reason why it could not be read.

    ``positions`` is the number of compared positions, 0 without frames. ``doubt`` describes what
    the network depends on and the file does not say; empty if nothing.
    """

    findings: tuple[AuditFinding, ...]
    graph: Graph | None
    refusal: str
    positions: int = 0
    doubt: str = ""


def inspect(
    path: Path,
    *,
    steps: int | None = None,
    frames: npt.NDArray[Any] | None = None,
    input: Node | None = None,
    delay_shift: bool | None = None,
) -> Report:
    """List the errors of stock NetX with a file.

    Every suggested remedy was tried, on ``frames`` or on random frames.

    Args:
        steps: number of steps of a sample, if the file lacks it.
        frames: frames (T, N, *shape) for counting differing spikes.
        input: the input node; by default that of ``frames``.
        delay_shift: see :func:`neuroport.netx.read`.

    Raises:
        StorageError, FormatError: the file does not exist, or is not a NetX file.
    """
    if frames is not None and frames.ndim:
        steps = len(frames)
    given = frames if input is None else input
    content, graph, refusal = opened(
        path, lambda held: _graph(replace(held, delay_shift=bool(delay_shift)), steps, given)
    )
    if frames is not None and graph is not None:
        check_frames(graph, frames)
    known = list(_known(content, graph, frames))
    doubt = layer_starts.doubt(graph) if graph is not None and delay_shift is None else ""
    if graph is None or frames is None:
        return Report(tuple(found for found, _ in known), graph, refusal, doubt=doubt)
    right = faults.run(graph, frames)
    findings = [
        found if fault is None else replace(found, changes=fault(graph, frames, right))
        for found, fault in known
    ]
    if doubt:
        other = replace(content, delay_shift=True)
        changes = faults.otherwise(content, other, graph, frames)
        doubt += f" ({changes:,} of {sum(m.size for m in right.values()):,} here)"
    positions = sum(messages.size for messages in right.values())
    return Report(tuple(findings), graph, refusal, positions, doubt)


def _graph(
    content: Content, steps: int | None, frames: GivenFrames
) -> tuple[Content, Graph | None, str]:
    """Return the content, and its network or the reason why there is none."""
    try:
        return content, content.graph(steps, frames), ""
    except FormatError as error:
        return content, None, error.message


def _known(
    content: Content, graph: Graph | None, frames: npt.NDArray[Any] | None
) -> Iterator[tuple[AuditFinding, Fault | None]]:
    mend = None if graph is None else _tried(content, graph, frames)
    graded = graph is not None and not content.hosted and graph.input.bits > 1
    if graded and graph is not None:
        what = "graded frames are taken for spikes; Network(input_message_bits="
        yield AuditFinding("input", f"{what}{graph.input.bits}) fixes it"), faults.ungraded
    latency, last, biased, changes = 0, "", False, False
    for index, fields in content.layers.items():
        layer = plain(fields)
        kind = _word(layer)
        where = f"layer/{index} ({kind})"
        for what, stops in _unread(fields, layer):
            yield AuditFinding(where, what, stops=stops), None
        neuron = layer.get(schema.NEURON)
        if isinstance(neuron, dict):
            last = f"layer{index}"
            changes |= _word(neuron) == "SDNN"
        if kind not in ("conv", "dense", "dense_rec"):
            continue
        latency += 1
        for what, fault in _wrong(content, index, layer):
            yield AuditFinding(where, what, stops=fault is None), fault
        bias = layer.get("bias")
        if isinstance(bias, np.ndarray) and bias.any() and isinstance(neuron, dict):
            biased = True
            if not content.delay_shift:
                early = f"{latency} step{'s' if latency > 1 else ''}"
                what = f"its bias acts {early} before its first frame arrives"
                what += _advice(mend, f"layer{index}", _word(neuron) == "SDNN")
                yield AuditFinding(where, what), faults.lead_in(f"layer{index}", content.hosted)
    if content.delay_shift and biased and not content.hosted:
        what = "biases act a step longer before frames arrive than in training"
        advice = _advice(mend, last, changes)
        yield AuditFinding("all layers", what + advice), faults.began_together(content)
    if last:
        what = "states go on from one sample to the next" + _advice(mend, last, changes)
        yield AuditFinding("all layers", what), faults.carried_over(content)


def _tried(
    content: Content, graph: Graph, frames: npt.NDArray[Any] | None
) -> dict[str, int | None] | None:
    """Find the reset offset that corrects NetX's timing, by population; None if not tried."""
    if frames is None:
        steps, positions = TRIED
        neurons = sum(int(np.prod(graph.facts(node.name).shape)) for node in graph.populations)
        steps = min(graph.steps, steps, max(4, positions // (2 * neurons)))
        graph = Graph(graph.nodes, steps)
        facts = graph.facts(graph.input.name)
        low, high = max(int(facts.low.min()), -64), min(int(facts.high.max()), 64)
        sizes = (steps, 2, *graph.input.shape)
        frames = np.random.default_rng(0).integers(low, high + 1, sizes)
    try:
        return faults.mending(content, graph, frames)
    except (GraphError, RangeError):  # these steps or frames give no answer
        return None


def _advice(mend: dict[str, int | None] | None, name: str, changes: bool) -> str:
    """Return tried advice that corrects the timing of a layer and all earlier ones."""
    if mend is None or name not in mend:
        return ""
    offset = mend[name]
    if offset is not None:
        return f"; Network(reset_interval=T, reset_offset={offset}) fixes it"
    if changes:
        return (
            "; NetX resets no sigma-delta neurons: read it as NetX runs it (--free-running), or "
            "run it here, where samples begin at rest"
        )
    return "; no reset of NetX fixes it: run it here, where each layer begins with its frames"


def _wrong(
    content: Content, index: int, layer: dict[str, Any]
) -> Iterator[tuple[str, Fault | None]]:
    """Yield errors of one layer that can be counted; None if NetX stops."""
    late = delay_per_channel(layer)
    if late is not None and late.any():
        if layer[schema.TYPE] == "conv":
            yield (
                f"its delays, up to {late.max()} steps, are ignored",
                faults.passed_over(content, "delay", index),
            )
        else:
            yield (
                "its delays act on what it receives instead of what it sends, which a bias tells "
                "apart",
                faults.at_the_input(content, index, late),
            )
    neuron = layer.get(schema.NEURON)
    neuron = neuron if isinstance(neuron, dict) else {}
    power = neuron.get("weight_exp")
    if isinstance(power, np.ndarray) and power.any():
        yield (
            f"neuron/weight_exp, {float(power.flat[0]):g}, is never read: its norm scales nothing",
            faults.passed_over(content, "weight_exp", index),
        )
    if layer[schema.TYPE] != "conv":
        yield from faults.weights(index, layer)
    if _word(neuron) in ("RF_PHASE", "RF_IZHIKEVICH"):
        yield from faults.resonators(index, neuron)


def _word(fields: dict[str, Any]) -> str:
    """Return the type of a layer or of its neurons, as stored."""
    found = fields.get(schema.TYPE)
    return _name(found) if isinstance(found, str) else "of no type"


def _name(said: str) -> str:
    """Return a name from a file, for a message."""
    return said if said.isidentifier() and len(said) < 40 else short(said)


def _unread(fields: dict[str, Any], layer: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the fields of a layer that NetX ignores or refuses; ``layer`` has its plain fields."""
    kind = _word(layer)
    if kind in REFUSED:
        yield f"{kind} is a layer that NetX does not build", True
        return
    if kind not in READ:
        yield f"a layer {kind} is unknown to NetX, which leaves it out", False
        return
    for name in sorted(set(fields) - set(FIELDS[kind].split())):
        yield f"field {_name(name)} is ignored", False
    for name in ("weight", "weight_rec", "bias"):
        values = layer.get(name)
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            broken = int(np.count_nonzero(values != np.round(values)))
            if broken and kind != "input":
                yield f"{name} holds {broken} fractions, which are truncated", False
    bias = layer.get("bias")
    if isinstance(bias, np.ndarray) and np.abs(bias).max(initial=0) >= 1 << 15:
        yield f"bias reaches {np.abs(bias).max():g} and wraps at 16 bits", False
    delay = layer.get("delay")
    if isinstance(delay, np.ndarray) and delay.max(initial=0) > 62 and kind != "conv":
        yield f"delays up to {delay.max():g} are cut to 62", False
    if kind == "dense_rec" and isinstance(delay, np.ndarray) and delay.any():
        yield "delays of a recurrent layer delay its own spikes, and scale its weights", False
    neuron = layer.get(schema.NEURON)
    if isinstance(neuron, dict):
        yield from _unread_of_neurons(layer, neuron)


def _unread_of_neurons(layer: dict[str, Any], neuron: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    kind = _word(neuron)
    if kind not in NEURONS:
        if "RF" in kind:
            yield f"neurons {kind} run as plain resonators, without their adaptation", False
        else:
            yield f"neurons {kind} are unknown", True
    for name in sorted(set(neuron) - set(NEURON_FIELDS.split())):
        yield f"field neuron/{_name(name)} is ignored", False
    for name, rest, why in (
        ("gradedSpike", (0,), "is ignored: it sends spikes"),
        ("refDelay", (0, 1), "is ignored: it may fire at every step"),
        ("wgtExp", (0,), "is ignored"),
    ):
        value = neuron.get(name)
        if (
            kind in SPIKING
            and isinstance(value, np.ndarray)
            and value.size
            and value.flat[0] not in rest
        ):
            yield f"neuron/{name}, {value.flat[0]}, {why}", False
    if "messageBits" in neuron:
        yield "neuron/messageBits cannot be read", True
    if kind == "SDNN":
        sigma = neuron.get("sigma_output")
        if isinstance(sigma, np.ndarray) and not sigma.any():
            yield "neuron/sigma_output says no, and NetX takes any such field for yes", False
        if neuron.get("activation", "relu") != "relu" and layer.get(schema.TYPE) != "input":
            yield f"activation {_name(str(neuron['activation']))} is ignored: it rectifies", False
    bias = layer.get("bias")
    if "RF" in kind and isinstance(bias, np.ndarray) and bias.any():
        yield "its bias is ignored: resonators have none", False
