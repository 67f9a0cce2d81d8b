"""What unmodified NetX does wrong with a stock file, layer by layer, and how much it changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.stock_road import faults
from neuroport.analysis.stock_road.faults import Fault
from neuroport.analysis.stock_road.repair import Content, Path, delay_per_channel, opened, plain
from neuroport.errors import FormatError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Input
from neuroport.hdf5 import short
from neuroport.netx import schema

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
ARGUMENTS = "Network(reset_interval=T, reset_offset=1) mends it"


@dataclass(frozen=True)
class Finding:
    """One thing that stock NetX does otherwise than the file says.

    Attributes:
        layer: its name in the file, ``layer/3 (conv)``.
        what: the fault.
        changes: positions of all populations that differ by this fault alone; None where it
            was not, or cannot be, counted.
        stops: NetX ends with an error instead of running something else.
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
    """The findings, and the network that the file means; or why it has none here.

    ``positions`` is how many were compared for every count, 0 without frames.
    """

    findings: tuple[Finding, ...]
    graph: Graph | None
    refusal: str
    positions: int = 0


def inspect(
    path: Path,
    *,
    steps: int | None = None,
    frames: npt.NDArray[Any] | None = None,
    input: Input | None = None,
) -> Report:
    """What stock NetX would do wrong with the file.

    Args:
        steps: steps a sample lasts, where the file does not say it.
        frames: (T, N, *shape), on which the spikes that differ are counted.
        input: the input node, see :func:`neuroport.netx.stock.read`; by default, where frames are
            given to a file that begins with a convolution, that of spikes of their shape.

    Raises:
        StorageError, FormatError: no such file, or none of NetX.
    """
    content, graph, refusal = opened(path, lambda held: _graph(held, steps, frames, input))
    known = list(_known(content, graph))
    if graph is None or frames is None:
        return Report(tuple(found for found, _ in known), graph, refusal)
    right = faults.run(graph, frames)
    findings = [
        found if fault is None else replace(found, changes=fault(graph, frames, right))
        for found, fault in known
    ]
    positions = sum(messages.size for messages in right.values())
    return Report(tuple(findings), graph, refusal, positions)


def _graph(
    content: Content, steps: int | None, frames: npt.NDArray[Any] | None, input: Input | None
) -> tuple[Content, Graph | None, str]:
    """The content, and its network or why it has none."""
    first = content.layers[0]
    if frames is not None:
        steps = len(frames)
        spikes = frames.ndim == 5 and frames.max(initial=0) <= 1
        if input is None and _word(first) in ("conv", "pool") and spikes:
            input = Input("input", frames.shape[2:], bits=1)
    try:
        return content, content.graph(steps, input), ""
    except FormatError as error:
        return content, None, error.message


def _known(content: Content, graph: Graph | None) -> Iterator[tuple[Finding, Fault | None]]:
    first = plain(content.layers[0])
    hosted = _word(first) == "input" and schema.NEURON in first
    skew, spiking = 0, False
    for index, fields in content.layers.items():
        layer = plain(fields)
        kind = _word(layer)
        where = f"layer/{index} ({kind})"
        for what, stops in _unread(fields, layer):
            yield Finding(where, what, stops=stops), None
        if kind not in ("conv", "dense", "dense_rec"):
            continue
        skew += 1
        for what, fault in _wrong(content, index, layer):
            yield Finding(where, what, stops=fault is None), fault
        neuron = layer.get(schema.NEURON)
        spiking |= isinstance(neuron, dict) and _word(neuron) in SPIKING
        bias = layer.get("bias")
        if isinstance(bias, np.ndarray) and bias.any() and schema.NEURON in layer:
            early = f"{skew} step{'s' if skew > 1 else ''}"
            what = f"its bias acts {early} before its first frame arrives; {ARGUMENTS}"
            yield Finding(where, what), faults.lead_in(f"layer{index}", hosted)
    if spiking:
        what = f"states go on from one sample to the next; {ARGUMENTS}"
        yield Finding("all layers", what), faults.carried_over(hosted)


def _wrong(
    content: Content, index: int, layer: dict[str, Any]
) -> Iterator[tuple[str, Fault | None]]:
    """Faults of one layer that can be counted; None where NetX stops."""
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
    """The type that a layer, or its neurons, say they have."""
    found = fields.get(schema.TYPE)
    return _name(found) if isinstance(found, str) else "of no type"


def _name(said: str) -> str:
    """A name that a file holds, for a message."""
    return said if said.isidentifier() and len(said) < 40 else short(said)


def _unread(fields: dict[str, Any], layer: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """What NetX passes over, or stops at, in one layer, of which ``layer`` is the plain part."""
    kind = _word(layer)
    if kind in REFUSED:
        yield f"{kind} is no layer that NetX builds", True
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
