"""From a trained network of neuroport's own layers to its wiring, and to the integer graph.

The wiring is read from the network's ``forward`` with ``torch.fx``: layers are leaves, ``+`` joins
currents (or messages), ``nn.Identity`` passes through, and anything else is refused by name. So a
free-form ``forward`` with shortcuts of any span is captured as it is written.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, fx, nn

from neuroport.errors import CaptureError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv as ConvNode
from neuroport.graph.node import Dense, Input, IntArray, Node, Relay
from neuroport.graph.node import Lif as LifNode
from neuroport.graph.node import Readout as ReadoutNode
from neuroport.lowering.skew import identity
from neuroport.nets.neuron import Lif
from neuroport.nets.stream import Stream
from neuroport.nets.synapse import Conv, GradedConv, Readout, snap_weight

LayerModule: TypeAlias = Conv | GradedConv | Lif | Readout
INPUT = "input"


@dataclass(frozen=True)
class Layer:
    """A layer of the network and the layers whose outputs are summed at its input."""

    name: str
    module: LayerModule
    inputs: tuple[str, ...]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (Conv, Lif, Readout, nn.Identity))


def wiring(net: nn.Module) -> list[Layer]:
    """Layers of ``net`` in the order of execution.

    Raises:
        CaptureError: an operation other than layers and additions, a layer called twice, or a layer
            fed with what it cannot take; the message names the line of ``forward``.
    """
    try:
        traced = _Tracer().trace(net)
    except (fx.proxy.TraceError, TypeError, AttributeError) as error:
        raise CaptureError(
            f"{type(net).__name__}.forward cannot be traced ({error}); "
            "use neuroport layers and additions only, without branches on values"
        ) from error
    modules = dict(net.named_modules())
    sums: dict[fx.Node, tuple[str, ...]] = {}
    layers: dict[str, Layer] = {}
    for node in traced.nodes:
        if node.op == "placeholder":
            if sums:
                raise CaptureError(
                    f"{type(net).__name__}.forward takes {node.target!r} besides its frames; it "
                    "may take one argument"
                )
            sums[node] = (INPUT,)
        elif node.op == "output":
            break
        elif node.kwargs or not all(arg in sums for arg in node.args) or not node.args:
            raise _refusal(net, node)
        elif node.op == "call_function" and node.target is operator.add:
            left, right = node.args
            sums[node] = (*sums[left], *sums[right])
        elif node.op == "call_module" and isinstance(modules[str(node.target)], nn.Identity):
            sums[node] = sums[node.args[0]]
        elif node.op == "call_module":
            name = str(node.target)
            module = modules[name]
            if name in layers:
                raise CaptureError(f"layer {name!r} is called twice; use two layers")
            assert isinstance(module, (Conv, Lif, Readout))
            _check_own(name, module)
            layers[name] = _checked(Layer(name, module, sums[node.args[0]]), layers)
            sums[node] = (name,)
        else:
            raise _refusal(net, node)
    return list(layers.values())


def _check_own(name: str, module: LayerModule) -> None:
    """Refuse a subclass that computes otherwise: it would be captured as what it derives from."""
    base = next(kind for kind in type(module).__mro__ if kind in (Conv, GradedConv, Lif, Readout))
    for kind in type(module).__mro__[: type(module).__mro__.index(base)]:
        changed = [item for item in vars(kind) if not item.startswith("__") and hasattr(base, item)]
        if changed and changed != ["extra_repr"]:
            raise CaptureError(
                f"layer {name!r} is a {kind.__name__} with a {changed[0]!r} of its own, which no "
                f"engine knows; use {base.__name__} as it is"
            )


def _refusal(net: nn.Module, node: fx.Node) -> CaptureError:
    what = getattr(node.target, "__name__", None) or str(node.target)
    return CaptureError(
        f"{type(net).__name__}.forward uses {what!r} ({node.format_node()}); it may call neuroport "
        "layers with one positional argument and add their outputs with +, nothing else"
    )


def _checked(layer: Layer, before: dict[str, Layer]) -> Layer:
    """Refuse a layer fed with the wrong kind of signal."""
    module = layer.module
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


@torch.no_grad()
def integer_graph(net: nn.Module, frames: Tensor) -> Graph:
    """The graph of a network in its integer phase.

    Integers are read out of the module itself: the weights with the function that its forward pass
    uses, the biases while it runs ``frames`` (T, N, C, H, W), of which only shape and T matter.
    """
    layers = wiring(net)
    biases, positions = _observe(net, layers, frames[:, :1])
    nodes: list[Node] = [Input(INPUT, tuple(frames.shape[2:]), bits=8)]
    current: dict[str, str] = {}

    def sources(layer: Layer) -> tuple[str, ...]:
        return tuple(current.get(name, name) for name in layer.inputs)

    for layer in layers:
        name, module = layer.name, layer.module
        if isinstance(module, Lif):
            current_decay, voltage_decay = module.decays
            nodes.append(
                LifNode(
                    name,
                    sources(layer),
                    np.full(1, module.integer_threshold),
                    np.full(1, current_decay),
                    np.full(1, voltage_decay),
                    biases[name],
                )
            )
        elif isinstance(module, GradedConv):
            nodes.extend(_graded(name, module, sources(layer), (len(module.synapse.weight), 1, 1)))
            current[name] = nodes[-1].name
        elif isinstance(module, Conv):
            nodes.append(_conv(name, module, sources(layer), int(module.exponent)))
        else:
            weight = module.integer_weight().repeat_interleave(positions[name], dim=1)
            nodes.append(Dense(f"{name}.synapse", sources(layer), _integers(weight)))
            nodes.append(ReadoutNode(f"{name}.potential", (nodes[-1].name,), biases[name]))
    return Graph(nodes, len(frames))


def _observe(
    net: nn.Module, layers: list[Layer], frames: Tensor
) -> tuple[dict[str, IntArray], dict[str, int]]:
    """Integer biases of every population, and positions H*W under every readout."""
    biases: dict[str, IntArray] = {}
    positions: dict[str, int] = {}
    handles = []

    def watch(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, args: Sequence[Any]) -> None:
            x = args[0]
            if isinstance(module, Lif):
                if not isinstance(x, Stream):
                    raise CaptureError(
                        f"neuron {name!r} is still real-valued; quantize the network first"
                    )
                bias = _integers(module.integer_bias(x))
                biases[name] = bias.reshape(-1) if bias.shape[1:] == (1, 1) else bias
            elif isinstance(module, Readout):
                positions[name] = x.shape[-2] * x.shape[-1]
                biases[name] = _integers(module.integer_bias(positions[name]))

        return module.register_forward_pre_hook(hook)

    for layer in layers:
        if isinstance(layer.module, (Lif, Readout)):
            handles.append(watch(layer.name, layer.module))
    training = net.training
    try:
        net.eval()
        net(frames.float())
    finally:
        net.train(training)
        for handle in handles:
            handle.remove()
    return biases, positions


def _integers(x: Tensor) -> IntArray:
    rounded = x.detach().cpu().to(torch.float64).numpy()
    out: IntArray = rounded.astype(np.int64)
    assert np.array_equal(out, rounded), "an integer expected to be exact is not"
    return out


def _conv(name: str, module: Conv, inputs: tuple[str, ...], exponent: int) -> ConvNode:
    weight = snap_weight(module.folded()[0], module.unit())
    return ConvNode(
        name,
        inputs,
        _integers(weight),
        exponent,
        module.stride,
        module.padding,
        module.dilation,
        module.groups,
    )


def _graded(
    name: str, module: GradedConv, inputs: tuple[str, ...], shape: tuple[int, ...]
) -> list[Node]:
    nodes: list[Node] = []
    if module.relay_in is not None:
        nodes.append(Relay(f"{name}.relay_in", inputs, int(module.relay_in.shift)))
        inputs = (nodes[-1].name,)
    nodes.append(_conv(name, module, inputs, 0))
    nodes.append(Relay(f"{name}.relay_out", (name,), int(module.relay_out.shift)))
    nodes.append(identity(f"{name}.identity", nodes[-1].name, shape))
    return nodes
