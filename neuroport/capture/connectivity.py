"""Find the connections between neuroport's own layers in a network.

:mod:`neuroport.capture.forward` reads them from the network's ``forward`` and defines what a
forward may do. This module adds checks of the layers: that their code is the library's own, and
that each receives the kind of signal that it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from neuroport.capture.currents import MessageSum, NodeMessages
from neuroport.capture.forward import (
    CALLED,
    INPUT,
    Forward,
    Numbering,
    evaluating,
    read,
    refuse_hooks,
    unheard,
    unwrapped,
)
from neuroport.capture.signal_tensors import AxisOrder
from neuroport.capture.source_lines import SourceLine, function_place, here
from neuroport.errors import CaptureError
from neuroport.graph.node import Shape
from neuroport.nets.batchnorm import BiasNorm, TdBatchNorm
from neuroport.nets.batchnorm_lif import NormLif, PositiveNorm
from neuroport.nets.composed import Composed, ComposedStem
from neuroport.nets.neuron import Lif
from neuroport.nets.pooling import AvgPool, SumPool
from neuroport.nets.rep_conv import RepConv
from neuroport.nets.stream import Stream
from neuroport.nets.synapse import Conv, Direct, GradedConv, Integrator, Readout, Relay
from neuroport.nets.torch_parts import makes_weights

__all__ = [
    "INPUT",
    "LAYERS",
    "LayerCall",
    "Part",
    "evaluating",
    "heard",
    "read_wiring",
    "unwrapped",
    "wiring",
]

LayerModule: TypeAlias = Conv | GradedConv | Lif | Readout | SumPool
Part: TypeAlias = tuple[int, int] | None
LAYERS = (Conv, Lif, Readout, SumPool)
# layers of torch that people put between layers, and what to use
OTHERS: dict[type[nn.Module], str] = {
    nn.MaxPool2d: "the maximum is not a sum of messages; for spikes use "
    "neuroport.nets.pooling.MaxPool (SumPool, then neurons that fire where their window "
    "has a spike)",
    nn.AdaptiveMaxPool2d: "the maximum is not a sum of messages; for spikes use "
    "neuroport.nets.pooling.MaxPool with the size of the window",
    nn.MultiheadAttention: "its product of queries and keys has no exact form, since a synapse's "
    "weights are constants; use attention by masks, neuroport.nets.gates",
    nn.AvgPool2d: "use neuroport.nets.pooling.AvgPool, which takes (T, N, C, H, W)",
    nn.AdaptiveAvgPool2d: "use neuroport.nets.pooling.AvgPool with the size of the window, and no "
    "pool before a Readout, which averages over the map itself",
    nn.Upsample: "no synapse of a chip's convolutions repeats messages; keep the size of the maps "
    "(a stride of 1), or compute on the smaller map",
}
CURRENTS = (
    "the maximum of currents has no exact form, since a dendrite sums; the nearest that has one is "
    "that of the spikes of the neuron behind it, neuroport.nets.pooling.MaxPool, which is the same "
    "where the neuron has no memory, and another network, to be trained as such, where it has"
)
# classes whose forward pass the graph holds, the most specific first
WRITTEN: tuple[type[nn.Module], ...] = (
    ComposedStem,
    Composed,
    RepConv,
    GradedConv,
    Direct,
    Conv,
    NormLif,
    Lif,
    Readout,
    Relay,
    Integrator,
    AvgPool,
    SumPool,
    TdBatchNorm,
    PositiveNorm,
    nn.BatchNorm2d,
    nn.SyncBatchNorm,
    BiasNorm,
    nn.Identity,
)


TRAINING = ("learn", "bound", "fix")  # methods that do not compute


@dataclass(frozen=True)
class LayerCall:
    """A call of a layer, and the calls whose outputs are summed or concatenated at its input.

    Attributes:
        name: the layer's name in the network; ``name.2`` for the second call.
        path: the layer's path in the network.
        parts: for each of ``inputs`` its channels among those that are read, from and to; None for
            all channels.
        reads, sends: shapes without steps and samples.
        place: the line of the call.
    """

    name: str
    module: LayerModule
    inputs: tuple[str, ...]
    path: str
    parts: tuple[Part, ...]
    reads: Shape
    sends: Shape
    place: SourceLine

    @property
    def neuron(self) -> Lif | None:
        """The layer, if it is a neuron layer."""
        return self.module if isinstance(self.module, Lif) else None

    @property
    def synapse(self) -> Conv | None:
        """The layer, if it is a synapse, which outputs a current."""
        return self.module if isinstance(self.module, Conv) else None

    @property
    def readout(self) -> Readout | None:
        """The layer, if it is a readout."""
        return self.module if isinstance(self.module, Readout) else None

    @property
    def most(self) -> int:
        """An upper bound of the number of inputs that are summed at a channel."""
        together = self.parts.count(None)
        split = [part for part in self.parts if part is not None]
        return together + max(
            (sum(low <= at < high for low, high in split) for at, _ in split), default=0
        )


def wiring(net: nn.Module, frames: Sequence[int], *, checked: bool = True) -> list[LayerCall]:
    """Return the layers of ``net`` in the order of their calls, in evaluation mode.

    Args:
        frames: shape of the frames, (T, N, C, H, W).
        checked: run ``forward`` again on plain tensors, see :mod:`neuroport.capture.forward`.

    Raises:
        CaptureError: a graph cannot express an operation, a subclass or hook changes a layer, or a
            layer receives the wrong kind of signal; the error names the line of ``forward``.
    """
    return read_wiring(net, frames, checked=checked)[0]


def read_wiring(
    net: nn.Module, frames: Sequence[int], *, checked: bool = True
) -> tuple[list[LayerCall], Forward]:
    """Like :func:`wiring`; also return the recorded forward pass."""
    layers: dict[str, LayerCall] = {}
    blocks = _layers_of(net)
    paths = {id(module): path for path, module in blocks.items()}

    def perform(name: str, module: Any, value: Any) -> tuple[MessageSum, bool]:
        other = next((kind for kind in OTHERS if isinstance(module, kind)), None)
        if other is not None:
            raise CaptureError(_other(name, other, value.terms, layers))
        terms = value.terms
        inputs = tuple((term.node, term.part) for term in terms)
        _check(name, module, inputs, layers)
        layer = LayerCall(
            _free(name),
            module,
            tuple(term.node for term in terms),
            paths[id(module)],
            tuple(term.part for term in terms),
            value.shape,
            _sent(name, module, value.shape),
            here(),
        )
        layers[layer.name] = layer
        return MessageSum((NodeMessages(layer.name),), layer.sends), False

    given = MessageSum((NodeMessages(INPUT),), tuple(frames[2:]))
    sent = _as_sent if checked else None
    forward = read(net, blocks, given, AxisOrder(frames[0]), perform, sent)
    for origin in forward.returned:
        if len(origin.value.terms) > 1:  # type: ignore[union-attr]
            raise CaptureError(
                f"{type(net).__name__}.forward returns a sum or concatenation of "
                f"{origin.value.said}, which no population holds; return the output of one layer"
            )
    if forward.lost:
        raise CaptureError(
            f"{type(net).__name__}.forward returns what {forward.lost[0]}; return the output of "
            "one layer as it is, and compute with it outside"
        )
    return list(layers.values()), forward


@contextmanager
def heard(
    net: nn.Module,
    modules: Iterable[tuple[str, nn.Module]],
    hook: Any,
    calls: Iterable[str] = (),
) -> Iterator[None]:
    """Context that calls ``hook(name, module, args, output)`` after every call of a layer.

    Args:
        modules: layers and parts of layers by their name in ``net``.
        calls: names of calls that every run of ``net`` must make.

    Raises:
        CaptureError: a run did not make one of them; raised by ``net``.
    """
    paths = [path for path, module in net.named_modules() if isinstance(module, LAYERS)]
    number, left = Numbering(), dict.fromkeys(calls)
    expected = [*left]

    def begin(*_: object) -> None:
        nonlocal number, left
        number, left = Numbering(), dict.fromkeys(expected)

    def end(*_: object) -> None:
        for name in left:
            raise unheard(name)

    def after(path: str) -> Any:
        layer = next((p for p in paths if path == p or path.startswith(f"{p}.")), path)

        def keep(module: nn.Module, args: Any, output: Any) -> None:
            again = number(path).removeprefix(path)
            name = _free(layer + again) + path.removeprefix(layer)
            left.pop(name, None)
            hook(name, module, args, output)

        return keep

    handles = [net.register_forward_pre_hook(begin)]
    handles += [module.register_forward_hook(after(name)) for name, module in modules]
    handles.append(net.register_forward_hook(end))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _free(name: str) -> str:
    """Return a free name if a layer has the name of the graph's input."""
    first, _, rest = name.partition(".")
    return name if first != INPUT or (rest and not rest.isdigit()) else f"{INPUT}_layer{name[5:]}"


def _layers_of(net: nn.Module) -> dict[str, nn.Module]:
    refuse_hooks(type(net).__name__, net)
    found: dict[str, nn.Module] = {}
    for name, module in net.named_modules():
        if isinstance(module, LAYERS):
            _as_written(name, module)
            found[name] = module
        elif any(isinstance(module, kind) for kind in OTHERS):
            found[name] = module
        elif isinstance(module, nn.Identity):
            _as_written(name, module)
    return found


def _as_written(name: str, module: nn.Module) -> None:
    """Refuse a layer whose forward pass is not the library's, because the graph would differ."""
    parts = list(module.named_modules(prefix=name))
    for inner, part in parts:
        refuse_hooks(inner, part, makes_weights)  # the layer does not know where they are written
    for inner, part in parts:
        refusal = part.refusal() if isinstance(part, (Conv, Readout)) else None
        if refusal is not None:
            raise CaptureError(f"layer {inner!r} ({type(part).__name__}): {refusal}")
        base = next((kind for kind in WRITTEN if isinstance(part, kind)), None)
        if base is None:
            continue
        for method in _methods(base):  # type: ignore[arg-type]
            own = getattr(base, method, None)
            if method in vars(part) or getattr(type(part), method, None) is not own:
                found = vars(part).get(method, getattr(type(part), method))
                place = function_place(getattr(found, "fget", found))
                raise CaptureError(
                    f"layer {inner!r} ({type(part).__name__}) has its own {method!r} "
                    f"({place}), which the graph cannot hold; use "
                    f"{base.__name__} as it is, or write the change into the network's "
                    "forward with neuroport layers and additions"
                )


@cache
def _methods(base: type[nn.Module]) -> tuple[str, ...]:
    """The methods and properties with which a layer computes: those that torch's modules lack."""
    own = (kind for kind in base.__mro__ if kind.__module__.startswith("neuroport."))
    found = {
        name: None
        for kind in own
        for name, value in vars(kind).items()
        if isinstance(value, (FunctionType, property)) and not hasattr(nn.Module, name)
    }
    return (*CALLED, *(name for name in found if name not in TRAINING))


def _sent(name: str, module: LayerModule, reads: Shape) -> Shape:
    if isinstance(module, Lif):
        return reads
    if len(reads) != 3:
        raise CaptureError(f"layer {name!r} reads {reads}; it takes feature maps (C, H, W)")
    if isinstance(module, SumPool):
        return _pooled(name, module, reads)
    channels = _channels(module)
    if reads[0] != channels:
        raise CaptureError(
            f"layer {name!r} reads {reads[0]} channels (of {reads[1]} x {reads[2]}); it takes "
            f"{channels}"
        )
    if isinstance(module, Readout):
        return (module.synapse.out_features,)
    try:
        kernel = torch.empty_like(module.kernel(), device="meta")
        out = module.convolve(torch.empty(1, 1, *reads, device="meta"), kernel)
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        raise CaptureError(f"layer {name!r} cannot take maps {reads} ({said})") from error
    return tuple(out.shape[2:])


def _pooled(name: str, module: SumPool, reads: Shape) -> Shape:
    size = tuple(
        (n + 2 * pad - k) // stride + 1
        for n, k, stride, pad in zip(
            reads[1:], module.kernel_size, module.stride, module.padding, strict=True
        )
    )
    if min(size) < 1:
        raise CaptureError(
            f"layer {name!r} pools windows {module.kernel_size} of maps {reads}; use smaller ones"
        )
    return (reads[0], *size)


def unit_of(name: str, layers: Mapping[str, LayerCall]) -> float:
    """Return the real value of an integer message of a population; averages are sent as sums."""
    layer = layers.get(name)
    if layer is None or not isinstance(layer.module, SumPool):
        return 1.0
    return unit_of(layer.inputs[0], layers) / layer.module.divisor


def _channels(module: LayerModule) -> int:
    if isinstance(module, Readout):
        return module.synapse.in_features
    assert isinstance(module, Conv)
    return module.synapse.in_channels


def _as_sent(module: nn.Module, drawn: Tensor) -> Any:
    """Convert numbers to the form in which the layer sends them in its phase."""
    if isinstance(module, Conv) and float(module.lsb) > 0:
        return Stream(drawn, drawn[0, 0, :, 0, 0].clone(), module.finer)
    return drawn


def _other(
    name: str,
    kind: type[nn.Module],
    terms: tuple[NodeMessages, ...],
    before: Mapping[str, LayerCall],
) -> str:
    """Return why a layer of torch is refused, and what to use instead."""
    sources = [before[term.node] for term in terms if term.node in before]
    if "MaxPool" in kind.__name__ and any(source.synapse is not None for source in sources):
        return f"layer {name!r} is a {kind.__name__} of currents: {CURRENTS}"
    return f"layer {name!r} is a {kind.__name__}: {OTHERS[kind]}"


def _check(
    layer: str,
    module: LayerModule,
    inputs: tuple[tuple[str, Part], ...],
    before: dict[str, LayerCall],
) -> None:
    """Refuse a layer that reads the wrong kind of signal, or the same signal twice."""
    for name, part in inputs:
        if inputs.count((name, part)) > 1:
            # Lava connects two ports once
            raise CaptureError(
                f"layer {layer!r} adds {name!r} to itself, but two layers are connected only "
                "once; double the weights, or feed the second addend through a layer of its own"
            )
        source = None if name == INPUT else before[name]
        currents = source is not None and source.synapse is not None
        messages = source is not None and not currents
        if part is not None and not messages:
            raise CaptureError(
                f"layer {layer!r} reads {name!r} in a concatenation, which is for spikes: a "
                "population has one kind of synapse for all its channels, and frames are no "
                "spikes; give each current its own neurons and concatenate what they send"
            )
        if isinstance(module, GradedConv):
            good = source is None if module.pixels else currents
        elif isinstance(module, (Conv, Readout, SumPool)):
            good = messages
        else:
            good = currents
        if not good:
            more = f"; {CURRENTS}" if currents and isinstance(module, SumPool) else ""
            raise CaptureError(
                f"layer {layer!r} ({type(module).__name__}) cannot take {name!r}: synapses "
                "and pools take spikes, neurons and projections take currents, the stem takes "
                f"pixels{more}"
            )
    units = {unit_of(name, before) for name, _ in inputs}
    if len(units) > 1:
        raise CaptureError(
            f"layer {layer!r} reads spikes or averages of {len(units)} units together, and a "
            "synapse has one for all; pool all of them alike, or use SumPool"
        )
    if isinstance(module, Readout) and units != {1.0}:
        raise CaptureError(
            f"layer {layer!r} averages over the map itself: leave the AvgPool before it out, or "
            "use SumPool"
        )
