"""Measure the effect of quantization, layer by layer: run in real numbers and in integers.

The two runs share only the frames, so the differences of a population include those of earlier
populations. A spike *differs* if, at one step of one sample, exactly one of the two networks'
neurons fires. The share relates to the positions at which either fires,

    share = differing / |real or integer|,    0 (the same spikes) .. 1 (no spike in common).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from neuroport.arguments import as_array, as_labels, is_module, takes, whole_number
from neuroport.capture.connectivity import LayerCall, evaluating, heard, unwrapped, wiring
from neuroport.capture.frontend import NATIVE, front_end_of
from neuroport.capture.native_network import integer_graph
from neuroport.display import Shown, View
from neuroport.errors import BackendError, CaptureError, CompareError, FramesError
from neuroport.kernels.devices import device_of, memory_of
from neuroport.nets.grid_options import is_corrected, is_equalized
from neuroport.nets.held_numbers import held
from neuroport.nets.synapse import Conv, Direct, Readout, snap_weight
from neuroport.nets.torch_parts import OnGrid
from neuroport.quantization.input_checks import check_numbers, real_frames
from neuroport.quantization.scales import fit_scales, freeze_scales, is_integer, set_options
from neuroport.quantization.weight_levels import few_levels, largest_loss, levels, limits
from neuroport.runs.shards import Shard, in_order, samples_of


@dataclass(frozen=True)
class PopulationCost:
    """One population of neurons in both networks.

    Attributes:
        positions: neurons x steps x samples.
        real, integer: spikes of either network.
        differing: positions at which exactly one of them fires.
        lsb: real value of one unit of current; ``threshold`` is the integer one.
    """

    name: str
    positions: int
    real: int
    integer: int
    differing: int
    lsb: float
    threshold: int

    @property
    def share(self) -> float:
        """Share of the spikes of either network that only one of them sends."""
        either = (self.real + self.integer + self.differing) / 2
        return self.differing / either if either else 0.0

    @property
    def rates(self) -> tuple[float, float]:
        """Spikes per neuron and step, real and integer."""
        return self.real / self.positions, self.integer / self.positions


@dataclass(frozen=True)
class SynapseCost:
    """Weights of one synapse, batch norm folded in.

    Attributes:
        unit: real value of an integer weight of 1. Weights are even, so the error of rounding is at
            most 1.
        largest: the largest integer weight.
        error: the largest distance of a weight from its integer, in units.
        clipped: number of weights beyond 8 bits.
    """

    name: str
    unit: float
    largest: int
    error: float
    clipped: int

    @property
    def levels(self) -> int:
        """Number of even integers in the range of the weights."""
        return levels(self.largest)


@dataclass(frozen=True)
class QuantizationCost(Shown):
    """Both networks on the same samples.

    Attributes:
        trained: ``post-training`` if a real-valued network was quantized for this report,
            ``quantization-aware`` if it already was in its integer phase; the real-valued network
            then has the same weights, although it was not trained in that form.
        predictions: number of samples that the two classify differently.
        real_correct, integer_correct: numbers of correct samples; None without labels.
        few: the convolutions with fewer than 15 levels of weights, and why; None if there are none.
        loses: the population that adds most differences, and what would help; None if none does.
        shard: the samples of the shard, the hash of the integer graph, and what ``loses`` needs to
            know of it (``limits``); None without a shard.
    """

    trained: str
    samples: int
    predictions: int
    real_correct: int | None
    integer_correct: int | None
    populations: tuple[PopulationCost, ...]
    synapses: tuple[SynapseCost, ...]
    few: str | None = None
    loses: str | None = None
    shard: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, with the share and the rates of every population."""
        found = asdict(self)
        for entry, population in zip(found["populations"], self.populations, strict=True):
            entry["share"] = population.share
            entry["real_rate"], entry["integer_rate"] = population.rates
        for entry, synapse in zip(found["synapses"], self.synapses, strict=True):
            entry["levels"] = synapse.levels
        return found

    def _summary(self) -> list[str]:
        lines = [f"{self.trained} quantization on {self.samples} samples"]
        if self.real_correct is not None and self.integer_correct is not None:
            both = (self.real_correct, self.integer_correct)
            real, integer = (f"{100 * correct / self.samples:.1f} %" for correct in both)
            lines.append(f"accuracy {real} in real numbers, {integer} in integers")
        return [*lines, f"{self.predictions} samples are classified differently"]

    def view(self) -> View:
        columns = ("population", "rate real", "integer", "spikes that differ", "threshold")
        rows = [
            (p.name, *(f"{rate:.4f}" for rate in p.rates), f"{p.share:.2%}", f"{p.threshold}")
            for p in self.populations
        ]
        few = [text for text in (self.few, self.loses) if text is not None]
        clipped = sum(s.clipped for s in self.synapses)
        return View(
            "; ".join(self._summary()),
            columns,
            rows,
            "\n".join([f"{clipped} weights clipped", *few]),
            range(1, 5),
        )

    def __str__(self) -> str:
        """Return tables as text."""
        lines = self._summary()
        names = [p.name for p in self.populations] + [s.name for s in self.synapses]
        width = max(map(len, names))
        lines.append(f"{'population':{width}}  rate real  integer  spikes that differ  threshold")
        for p in self.populations:
            rates = "".join(f"{rate:9.4f}" for rate in p.rates)
            lines.append(f"{p.name:{width}}  {rates}{100 * p.share:18.2f} %{p.threshold:11}")
        lines.append(f"{'synapse':{width}}  largest weight  levels  error, units  clipped")
        for s in self.synapses:
            sizes = f"{s.largest:16}{s.levels:8}{s.error:14.2f}{s.clipped:9}"
            lines.append(f"{s.name:{width}}{sizes}")
        lines += [text for text in (self.few, self.loses) if text is not None]
        return "\n".join(lines)


@takes(
    net=is_module,
    frames=as_array,
    labels=as_labels,
    batch=whole_number(1, BackendError),
)
@torch.no_grad()
def quantization_cost(
    net: nn.Module,
    frames: Tensor | npt.ArrayLike,
    labels: npt.ArrayLike | None = None,
    *,
    batch: int = 50,
    device: str = "cpu",
    shard: str | Shard | None = None,
    calibration: Tensor | npt.ArrayLike | None = None,
    widths: str | None = None,
    equalize: bool | None = None,
    correct_bias: bool | None = None,
) -> QuantizationCost:
    """Run ``net`` in real numbers and in integers, and compare; ``net`` is not changed.

    Args:
        net: a network of neuroport layers in either phase. A real-valued one is quantized as by
            :func:`neuroport.quantize`.
        frames: (T, N, C, H, W).
        labels: (N,), for the accuracies. If the network returns spikes, the class is the channel
            that sends most of them.
        batch: number of samples that run at once.
        device: the device of both runs: ``cpu``, ``cuda``, ``cuda:1``, or ``auto``.
        shard: ``"2/4"`` runs only the second of four parts of the samples;
            :func:`neuroport.merge` joins them.
        calibration, widths, equalize, correct_bias: see :func:`neuroport.quantize`; the frames are
            the default calibration. With checked widths the integer network's currents are those
            that no engine has checked.

    Raises:
        CaptureError: a graph cannot express the network's ``forward``; or it is a network of
            SLAYER, which trains with integer weights, so that there is no real-valued network.
        FramesError: frames or labels have the wrong shape, or labels are no classes of the network.
        IllegalError: a stream's worst case does not fit the hardware's widths.
        BackendError: there is no such device, or it has too little memory; or the batch is no
            number of samples.
    """
    where = device_of(device)
    net = unwrapped(net)
    taken = front_end_of(net).name
    if taken == "slayer":
        raise CaptureError(
            "SLAYER's blocks have no real-valued phase; quantization_cost takes neuroport layers"
        )
    if taken != NATIVE:
        raise CaptureError(
            f"quantization_cost takes neuroport layers, and this is a network of {taken}; "
            "port.import_torch(net, frames).cost says what its quantization cost"
        )
    given = real_frames(frames, "frames")
    check_numbers(net)
    truth = None if labels is None else torch.from_numpy(np.array(labels, np.int64))
    if truth is not None and truth.shape != given.shape[1:2]:
        raise FramesError(
            f"labels are {tuple(truth.shape)} for {given.shape[1]} samples; give one class each"
        )
    chosen, told = samples_of(shard, np.asarray(given))
    aware = is_integer(net)
    real, integer = copy.deepcopy(net), copy.deepcopy(net)
    seen = given if calibration is None else real_frames(calibration)
    set_options(integer, seen, widths, equalize, correct_bias)
    if aware:
        _make_real(real)
        fit_scales(integer, seen)
    else:
        freeze_scales(integer, seen)
    layers = wiring(integer, given.shape)
    graph = integer_graph(integer, given[:, :1])
    used = {"equalize=True": is_equalized(integer), "correct_bias=True": is_corrected(integer)}
    unused = [option for option, on in used.items() if not on]
    neurons = [layer for layer in layers if layer.neuron is not None]
    counts = {layer.name: [0, 0, 0, 0] for layer in neurons}
    classes: tuple[list[Tensor], list[Tensor]] = ([], [])
    for network in (real, integer):
        network.to(where)

    def attempt(count: int) -> None:
        for network in (real, integer):
            with evaluating(network):
                network(given[:, :count].to(where))

    with (
        memory_of(where, min(batch, chosen.stop - chosen.start), 1, attempt, BackendError, "batch"),
        held(real),
        held(integer),
        _spikes(real, neurons) as of_real,
        _spikes(integer, neurons) as of_integer,
    ):
        for at in range(chosen.start, chosen.stop, batch):
            part = given[:, at : min(at + batch, chosen.stop)].to(where)
            for network, found in zip((real, integer), classes, strict=True):
                with evaluating(network):
                    output = network(part)
                found.append(_classes(output).cpu())
                if truth is not None and at == chosen.start:
                    _check_labels(truth, output.shape[min(output.ndim - 1, 2)])
            for name, count in counts.items():
                a, b = of_real[name], of_integer[name]
                for index, value in enumerate((a, b, a != b)):
                    count[index + 1] += int(value.sum())
                count[0] += a.numel()
    integer.cpu().eval()  # computed weights may differ in training mode
    guessed, right = torch.cat(classes[0]), torch.cat(classes[1])
    truth = None if truth is None else truth[chosen]
    populations = tuple(_population(layer, counts) for layer in layers if layer.name in counts)
    known = limits(graph, [p.name for p in populations], unused)
    return QuantizationCost(
        "quantization-aware" if aware else "post-training",
        chosen.stop - chosen.start,
        int((guessed != right).sum()),
        None if truth is None else int((guessed == truth).sum()),
        None if truth is None else int((right == truth).sum()),
        populations,
        tuple(_synapse(layer) for layer in layers if _is_trained(layer)),
        few_levels(graph),
        largest_loss(known, {p.name: p.share for p in populations}),
        None if told is None else {**told, "graph": graph.hash, "limits": known},
    )


_MORE = ("graph", "limits")  # of a shard, besides its samples


def merge_costs(shards: Sequence[QuantizationCost], names: Sequence[str]) -> QuantizationCost:
    """Merge the costs of all shards, in any order, into the cost of all samples.

    Args:
        names: names of the shards, for messages.

    Raises:
        CompareError: a shard is missing, given twice, damaged, or of another network or other
            frames.
    """
    told = [each.shard for each in shards]
    facts = [
        {
            "network": (each.shard or {}).get("graph"),
            "synapses": each.synapses,
            "quantization": each.trained,
            "populations": tuple(p.name for p in each.populations),
            "labels": "none" if each.real_correct is None else "given",
        }
        for each in shards
    ]
    plain = [None if t is None else {k: t[k] for k in t if k not in _MORE} for t in told]
    order = in_order(names, plain, facts)
    parts = [shards[at] for at in order]
    known = parts[0].real_correct is not None
    populations = []
    for same in zip(*(part.populations for part in parts), strict=True):
        sums = {
            key: sum(getattr(each, key) for each in same)
            for key in ("positions", "real", "integer", "differing")
        }
        populations.append(replace(same[0], **sums))
    return replace(
        parts[0],
        samples=sum(part.samples for part in parts),
        predictions=sum(part.predictions for part in parts),
        real_correct=sum(part.real_correct or 0 for part in parts) if known else None,
        integer_correct=sum(part.integer_correct or 0 for part in parts) if known else None,
        populations=tuple(populations),
        loses=_loses(parts[0], populations, names[order[0]]),
        shard=None,
    )


def _loses(part: QuantizationCost, merged: Sequence[PopulationCost], name: str) -> str | None:
    """The advice for all samples, from what a part knows of the graph.

    Raises:
        CompareError: it knows something else.
    """
    known = (part.shard or {}).get("limits")
    if known is None:  # of an earlier version
        return None
    whole = isinstance(known, dict) and all(
        isinstance(found := known.get(each.name), dict)
        and isinstance(found.get("limit"), str)
        and isinstance(found.get("heard"), list)
        and all(isinstance(other, str) for other in found["heard"])
        for each in merged
    )
    if not whole:
        raise CompareError(
            f"{name}: limits of its shard are {str(known)[:100]!r}, not those of its populations; "
            "the file was edited or damaged: run it again"
        )
    return largest_loss(known, {each.name: each.share for each in merged})


def _check_labels(labels: Tensor, classes: int) -> None:
    """Refuse labels that no answer of the network could equal.

    Raises:
        FramesError: names one of them.
    """
    wrong = torch.nonzero((labels < 0) | (labels >= classes)).flatten()
    if len(wrong):
        at = int(wrong[0])
        raise FramesError(
            f"labels[{at}] is {int(labels[at])}, and the network tells {classes} classes, 0 to "
            f"{classes - 1}; give the labels of these samples, numbered so"
        )


def _classes(output: Any) -> Tensor:
    """Return the class of each sample: the largest logit, or the channel with most spikes."""
    if not isinstance(output, Tensor) or output.ndim < 2:
        raise CaptureError(
            f"forward returns a {type(output).__name__}, which names no class; return the output "
            "of a Readout or the spikes of a neuron"
        )
    if output.ndim > 2:  # (T, N, C, H, W)
        output = output.sum([0, *range(3, output.ndim)])
    classes: Tensor = output.argmax(1)
    return classes


@contextmanager
def _spikes(net: nn.Module, neurons: Sequence[LayerCall]) -> Iterator[dict[str, Tensor]]:
    """Return the last spikes of the populations of these layers, by name."""
    seen: dict[str, Tensor] = {}
    paths = {layer.path for layer in neurons}
    calls = [layer.name for layer in neurons]

    def keep(name: str, _: nn.Module, __: Any, spikes: Tensor) -> None:
        seen[name] = spikes > 0

    with heard(net, [(path, net.get_submodule(path)) for path in paths], keep, calls):
        yield seen


def _make_real(net: nn.Module) -> None:
    """Return to the real-valued phase: same weights, no grid."""
    for module in net.modules():
        if isinstance(module, OnGrid):
            module.lsb.zero_()


def _is_trained(layer: LayerCall) -> bool:
    trains = layer.synapse is not None or layer.readout is not None
    return trains and not isinstance(layer.module, Direct)


def _population(layer: LayerCall, counts: dict[str, list[int]]) -> PopulationCost:
    module = layer.neuron
    assert module is not None
    positions, real, integer, differing = counts[layer.name]
    lsb, threshold = float(module.lsb), module.integer_threshold
    return PopulationCost(layer.name, positions, real, integer, differing, lsb, threshold)


def weights_of(module: Conv | Readout) -> tuple[Tensor, float]:
    """Return weights with batch norm folded in, and the real value of an integer weight of 1."""
    if isinstance(module, Readout):
        return module.weights()[0], float(module.lsb)
    return module.scaled(module.folded()[0]), module.unit()


def clipped(weight: Tensor, unit: float) -> int:
    """Return the number of weights beyond 8 bits."""
    return int((_errors(weight, unit) > 1 + 1e-4).sum())


def _errors(weight: Tensor, unit: float) -> Tensor:
    """Return the distance of each weight from its integer, in units."""
    return (weight.double() / unit - snap_weight(weight, unit).double()).abs()


def _synapse(layer: LayerCall) -> SynapseCost:
    module = layer.readout if layer.readout is not None else layer.synapse
    assert module is not None
    weight, unit = weights_of(module)
    return SynapseCost(
        layer.name,
        unit,
        int(snap_weight(weight, unit).abs().max()),
        round(float(_errors(weight, unit).max()), 4),
        clipped(weight, unit),
    )
