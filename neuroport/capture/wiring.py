"""The wiring of a network of neuroport's own layers: which layer feeds which.

It is read from the network's ``forward`` with ``torch.fx``: layers are leaves, ``+`` joins currents
(or messages), ``nn.Identity`` passes through, and anything else is refused by name, layers that a
subclass or a hook has changed included. So a free-form ``forward`` with shortcuts of any span is
captured as it is written.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import fx, nn

from neuroport.errors import CaptureError
from neuroport.nets.neuron import Lif
from neuroport.nets.norm import BiasNorm, TdBatchNorm
from neuroport.nets.normed import NormLif, PositiveNorm
from neuroport.nets.synapse import Conv, Direct, GradedConv, Integrator, Readout, Relay

LayerModule: TypeAlias = Conv | GradedConv | Lif | Readout
INPUT = "input"
LAYERS = (Conv, Lif, Readout)
# classes whose forward pass the graph holds, the most specific first
WRITTEN: tuple[type[nn.Module], ...] = (
    GradedConv,
    Direct,
    Conv,
    NormLif,
    Lif,
    Readout,
    Relay,
    Integrator,
    TdBatchNorm,
    PositiveNorm,
    nn.BatchNorm2d,
    BiasNorm,
    nn.Identity,
)


@dataclass(frozen=True)
class Layer:
    """A layer of the network and the layers whose outputs are summed at its input."""

    name: str
    module: LayerModule
    inputs: tuple[str, ...]


class _Proxy(fx.Proxy):
    def __iadd__(self, other: object) -> object:
        """Keep ``+=`` apart from ``+``: of tensors, it changes all names of its left side."""
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*LAYERS, nn.Identity))

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)  # type: ignore[no-any-return]


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """``net`` in evaluation mode; every module's own mode is given back."""
    before = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def wiring(net: nn.Module) -> list[Layer]:
    """Layers of ``net`` in the order of execution, as it runs in evaluation mode.

    Raises:
        CaptureError: an operation other than layers and additions, a layer called twice or changed
            by a subclass or a hook, or a layer fed with what it cannot take; the message names the
            line of ``forward``.
    """
    _no_hooks(type(net).__name__, net)
    try:
        with evaluating(net):
            traced = _Tracer().trace(net)
    except Exception as error:  # forward is the user's code: it may fail on a proxy in any way
        raise CaptureError(
            f"{type(net).__name__}.forward cannot be traced ({error or type(error).__name__}); "
            "use neuroport layers and additions only, without branches on values"
        ) from error
    modules = dict(net.named_modules())
    sums: dict[fx.Node, tuple[str, ...]] = {}
    tensors: dict[fx.Node, fx.Node] = {}  # node -> the node whose tensor it is
    stale: set[fx.Node] = set()  # names of a tensor that += has changed
    layers: dict[str, Layer] = {}
    for node in traced.nodes:
        tensors[node] = node
        if node.op == "placeholder":
            if sums:
                raise CaptureError(
                    f"{type(net).__name__}.forward takes {str(node.target)!r} besides the frames; "
                    "it must take the frames alone"
                )
            sums[node] = (INPUT,)
            continue
        if not stale.isdisjoint(node.all_input_nodes):
            raise CaptureError(
                f"{type(net).__name__}.forward reads a tensor under another name after += has "
                f"changed it ({node.format_node()}); write a = a + b instead of a += b"
            )
        if node.op == "output":
            if any(len(sums[argument]) > 1 for argument in node.all_input_nodes):
                raise CaptureError(
                    f"{type(net).__name__}.forward returns a sum ({node.format_node()}), which no "
                    "population holds; return the output of one layer"
                )
            break
        arguments = [arg for arg in node.args if isinstance(arg, fx.Node)]
        if node.kwargs or len(arguments) != len(node.args) or not arguments:
            raise _refusal(net, node)
        if node.op == "call_function" and node.target in (operator.add, operator.iadd):
            left, right = arguments
            sums[node] = (*sums[left], *sums[right])
            if node.target is operator.iadd:
                tensors[node] = tensors[left]
                stale |= {name for name in sums if tensors[name] is tensors[left]} - {node}
        elif node.op == "call_module":
            name = str(node.target)
            module = modules[name]
            _as_written(name, module)
            (source,) = arguments
            if isinstance(module, nn.Identity):
                sums[node], tensors[node] = sums[source], tensors[source]
                continue
            if name in layers:
                raise CaptureError(f"layer {name!r} is called twice; use two layers")
            assert isinstance(module, LAYERS)
            layers[name] = _checked(Layer(name, module, sums[source]), layers)
            sums[node] = (name,)
        else:
            raise _refusal(net, node)
    return list(layers.values())


def _as_written(name: str, module: nn.Module) -> None:
    """Refuse a layer whose forward pass is not the library's: the graph would hold another one."""
    for inner, part in module.named_modules(prefix=name):
        _no_hooks(inner, part)
        base = next((kind for kind in WRITTEN if isinstance(part, kind)), None)
        if base is None:
            continue
        for method in ("forward", "convolve"):
            own = getattr(base, method, None)
            if method in vars(part) or getattr(type(part), method, None) is not own:
                raise CaptureError(
                    f"layer {inner!r} ({type(part).__name__}) has its own {method!r}, which the "
                    f"graph cannot hold; use {base.__name__} as it is, or write the change into "
                    "the network's forward with neuroport layers and additions"
                )


def _no_hooks(name: str, module: nn.Module) -> None:
    if module._forward_hooks or module._forward_pre_hooks:
        raise CaptureError(
            f"{name!r} has forward hooks, which may change what it computes and are no part of the "
            "graph; remove them first (handle.remove())"
        )


def _refusal(net: nn.Module, node: fx.Node) -> CaptureError:
    what = getattr(node.target, "__name__", None) or str(node.target)
    if node.target in (operator.mul, operator.imul, torch.mul):
        return CaptureError(
            f"{type(net).__name__}.forward multiplies with {what!r} ({node.format_node()}), but a "
            "dendrite on a chip sums; a network whose shortcuts multiply spikes ('and', 'iand') "
            'can be trained, not captured: add them instead (connect = "add"), and put factors '
            "into weights"
        )
    return CaptureError(
        f"{type(net).__name__}.forward uses {what!r} ({node.format_node()}); it may call neuroport "
        "layers with one positional argument and add their outputs with +, nothing else"
    )


def _checked(layer: Layer, before: dict[str, Layer]) -> Layer:
    """Refuse a layer fed with the wrong kind of signal, or twice with the same one."""
    module = layer.module
    for name in layer.inputs:
        if layer.inputs.count(name) > 1:
            # Lava connects two ports once
            raise CaptureError(
                f"layer {layer.name!r} adds {name!r} to itself, but two layers are connected only "
                "once; double the weights, or feed the second addend through a layer of its own"
            )
    for name in layer.inputs:
        source = None if name == INPUT else before[name].module
        currents = isinstance(source, Conv)
        if isinstance(module, GradedConv):
            good = source is None if module.pixels else currents
        elif isinstance(module, (Conv, Readout)):
            good = isinstance(source, Lif)
        else:
            good = currents
        if not good:
            raise CaptureError(
                f"layer {layer.name!r} ({type(module).__name__}) cannot take {name!r}: synapses "
                "take spikes, neurons and projections take currents, the stem takes pixels"
            )
    return layer
