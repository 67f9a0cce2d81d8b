"""Train a graph of integers further, as a torch module whose forward pass is the graph.

The forward pass is the integer arithmetic of the graph. Gradients ignore the rounding of weights
and biases (straight-through), and a surrogate replaces the derivative of a spike. This serves
graphs that were imported (snnTorch, SpikingJelly, NIR) and have no module of neuroport.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuroport.arguments import is_graph, keyed, takes
from neuroport.errors import CaptureError, FramesError
from neuroport.graph import integers
from neuroport.graph.float_exactness import largest_sum
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    Conv,
    Delay,
    Dense,
    Input,
    LeakyReadout,
    Lif,
    Node,
    Readout,
    Recurrent,
    SubtractiveLif,
    SubtractiveRecurrent,
    per_neuron,
)
from neuroport.kernels import exact_products
from neuroport.kernels.devices import device_of
from neuroport.kernels.surrogate import SURROGATES
from neuroport.lowering.exponents import ONE_SIGN_MAX

HEARS_ITSELF = (Recurrent, SubtractiveRecurrent)
SUBTRACTS = (SubtractiveLif, SubtractiveRecurrent)
FIRES = (Lif, *HEARS_ITSELF, SubtractiveLif)
SILENT = (Readout, LeakyReadout)
KEPT = (Input, Conv, Dense, Delay, *FIRES, *SILENT)
MEMORYLESS = (
    integers.DECAY_UNITY - 1
)  # decay of a gate, whose synapses only count spikes and are not trained
EXACT = 1 << 24  # of float32
SLACK, TRIES = 0.98, 50


class _Neurons(torch.autograd.Function):
    """One step of a population; see :func:`neuroport.graph.integers.lif_step`.

    States and currents are integers in float64. The gradient is that of a real neuron: the slope of
    a spike is that of the surrogate at the distance from the threshold, in units of the threshold.
    It stops at a reset to zero, and passes a reset by subtraction.
    """

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, v: Tensor, current: Tensor, bias: Tensor, c: _Constants
    ) -> tuple[Tensor, Tensor, Tensor]:
        whole = (each.to(torch.int64) for each in (u, v, current, bias))
        u_int, v_int, current_int, bias_int = whole
        if c.threshold is None:
            u_new, v_new = integers.leak_step(
                u_int, v_int, current_int, bias_int, c.current_decay, c.voltage_decay
            )
            fired, after = torch.zeros_like(v_new), v_new
        else:
            u_new, v_new, fired = integers.lif_step(
                u_int, v_int, current_int, bias_int, c.current_decay, c.voltage_decay, c.threshold
            )
            after = (
                integers.reset(v_new, fired)
                if c.subtract is None
                else integers.subtract(v_new, fired * 1, c.subtract)
            )
            ctx.save_for_backward(v_new, fired)
        ctx.c, ctx.bias_shape = c, bias.shape
        real = torch.float64
        return (
            u_new.to(real),
            after.to(real),
            (fired if c.threshold is not None else v_new).to(real),
        )

    @staticmethod
    def backward(
        ctx: Any, grad_u: Tensor, grad_v: Tensor, grad_sent: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        c = ctx.c
        if c.threshold is None:
            grad = grad_v + grad_sent
        else:
            v, fired = ctx.saved_tensors
            unit = ((c.threshold.clamp(min=1)) << integers.STATE_SHIFT).to(torch.float64)
            slope = SURROGATES[c.surrogate](v / unit - 1) / unit
            passed = grad_v if c.subtract is not None else grad_v * (fired == 0)
            grad = passed + grad_sent * slope
        through = grad_u + grad
        scale = float(1 << integers.STATE_SHIFT)
        keep_u = 1 - c.current_decay / integers.DECAY_UNITY
        keep_v = 1 - c.voltage_decay / integers.DECAY_UNITY
        return (
            through * keep_u,
            grad * keep_v,
            through * scale,
            (grad * scale).sum_to_size(ctx.bias_shape),
            None,
        )


class _Constants(nn.Module):
    """Constants of a population per neuron, and the unit of current of each channel."""

    unit: Tensor
    current_decay: Tensor
    voltage_decay: Tensor
    threshold: Tensor | None
    subtract: Tensor | None

    def __init__(self, node: Node, shape: tuple[int, ...], surrogate: str, unit: Tensor) -> None:
        super().__init__()

        def spread(name: str, default: int, has: bool = True) -> None:
            values = getattr(node, name, None)
            array = np.full(shape, default) if values is None else per_neuron(values, shape)
            found = torch.from_numpy(np.array(array, np.int64))[None]
            self.register_buffer(name, found if has else None, persistent=False)

        self.surrogate = surrogate
        self.register_buffer("unit", unit)
        spread("current_decay", integers.DECAY_UNITY)
        spread("voltage_decay", 0)
        spread("threshold", 0, isinstance(node, FIRES))
        spread("subtract", 0, isinstance(node, SUBTRACTS))


def _held(node: Node) -> int:
    """Steps by which a node delays messages in the network itself, not only after lowering."""
    return node.steps if isinstance(node, Delay) else 0


class Trainable(nn.Module):
    """A graph whose weights and biases are parameters, in real units.

    Args:
        graph: synapses, neurons that reset or subtract, readouts and delays.
        units: the real value of a unit of current, per neuron of each population. By default the
            mean threshold of a population is 1, or the largest weight of a readout.
        surrogate: a name in :data:`neuroport.kernels.surrogate.SURROGATES`.

    Takes frames (T, N, *shape), integers of any dtype. Returns the output of the last population,
    (T, N, *shape): spikes, or potentials in real units; several outputs as a tuple, ordered by
    name. :meth:`graph` returns the current integers. Synapses of gates (AND, OR, a maximum of
    spikes), thresholds and decays are constants.

    Raises:
        CaptureError: a node's kind has no gradient here, a number does not fit its width, or units
            are of no population of the graph, no positive numbers, or several in a channel.
    """

    def __init__(
        self,
        graph: Graph,
        units: Mapping[str, npt.NDArray[Any]] | None = None,
        surrogate: str = "arctan",
    ) -> None:
        super().__init__()
        if not isinstance(surrogate, str) or surrogate not in SURROGATES:
            raise CaptureError(f"surrogate is {surrogate!r}; use one of {', '.join(SURROGATES)}")
        for node in graph:
            if type(node) not in KEPT or node.longest_delay > _held(node):
                raise CaptureError(
                    f"{node.name} ({node.kind}) has no gradient here; give the graph before it is "
                    "lowered, of neurons that reset or subtract, readouts and delays"
                )
            if isinstance(node, Dense) and node.delays:
                raise CaptureError(f"{node.name} has delays of its own; train without them")
        unknown = sorted(set(units or {}) - {node.name for node in graph})
        if unknown:
            known = ", ".join(node.name for node in graph.populations)
            raise CaptureError(
                f"units has {unknown[0]!r}; the graph's populations are {known:.300}"
            )
        self.start = graph
        self._keys = {node.name: f"{index:05}" for index, node in enumerate(graph)}
        self.populations = nn.ModuleDict(
            {
                self._keys[node.name]: _Constants(
                    node,
                    graph.facts(node.name).shape,
                    surrogate,
                    self._unit(graph, node.name, units or {}),
                )
                for node in graph
                if isinstance(node, (*FIRES, *SILENT))
            }
        )
        self.names = [node.name for node in graph if self._keys[node.name] in self.populations]
        self.readers: dict[str, str] = {}
        for name in self.names:
            for source in graph[name].inputs:
                self.readers[source] = name
        read = {source for node in graph for source in node.inputs}
        self.outputs = sorted(name for name in self.names if name not in read)
        self.weights, self.biases, self.own = (nn.ParameterDict() for _ in range(3))
        self._steps: dict[str, tuple[int, float, float]] = {}
        for node in graph:
            if isinstance(node, (Conv, Dense)):
                self._add(self.weights, node.name, node.weight, self.readers.get(node.name))
            elif node.name in self.names:
                unit, constant = self.unit(node.name), np.array(node.bias)  # type: ignore[attr-defined]
                bias = torch.from_numpy(constant.astype(np.float64)) * self._per(unit, constant)
                self.biases[self._keys[node.name]] = nn.Parameter(
                    bias.float(), not self._gate(node)
                )
                if isinstance(node, HEARS_ITSELF):
                    self._add(self.own, f"{node.name}", node.weight, node.name)
        self._check_start()

    @torch.no_grad()
    def _check_start(self) -> None:
        """Refuse a graph with numbers that training would change before its first step.

        Raises:
            CaptureError: weights or biases are beyond the widths of a chip.
        """
        for node in self.start:
            held: list[tuple[str, Any, Tensor]] = []
            if isinstance(node, (Conv, Dense, *HEARS_ITSELF)):
                held.append(("weight", node.weight, self.integer_weight(node.name)))
            if node.name in self.names:
                held.append(("bias", node.bias, self.integer_bias(node.name)))  # type: ignore[attr-defined]
            for what, has, found in held:
                unlike = np.flatnonzero(np.array(has) != _whole(found))
                if len(unlike):
                    value = np.array(has).flatten()[unlike[0]]
                    raise CaptureError(
                        f"{node.name}: a {what} is {value}, which does not fit what is trained: "
                        f"weights of both signs in {integers.WEIGHT_MAX}, of one sign in "
                        f"{ONE_SIGN_MAX}, biases in {integers.BIAS_MAX}; make the graph with a "
                        "coarser LSB"
                    )

    def constants(self, name: str) -> _Constants:
        """Constants of a population."""
        found = self.populations[self._keys[name]]
        assert isinstance(found, _Constants)
        return found

    def unit(self, name: str) -> Tensor:
        """The real value of a unit of current of a population, per channel."""
        return self.constants(name).unit

    def units(self) -> dict[str, npt.NDArray[np.float64]]:
        """Units of all populations, as given; each broadcasts over its neurons."""
        shapes = {name: self.start.facts(name).shape for name in self.names}
        return {
            name: self.unit(name).cpu().numpy().reshape(-1, *[1] * (len(shapes[name]) - 1))
            for name in self.names
        }

    def _gate(self, node: Node | None) -> bool:
        return isinstance(node, Lif) and bool((node.voltage_decay >= MEMORYLESS).all())

    @staticmethod
    def _unit(graph: Graph, name: str, units: Mapping[str, npt.NDArray[Any]]) -> Tensor:
        """Unit of current, per channel."""
        shape = graph.facts(name).shape
        if name in units:
            return torch.from_numpy(_per_channel(name, units[name], shape))
        thresholds = getattr(graph[name], "threshold", None)
        if thresholds is None:
            synapses = (graph[source] for source in graph[name].inputs)
            whole = [
                float(np.abs(node.weight).max()) * 2.0**node.exponent
                for node in synapses
                if isinstance(node, (Conv, Dense))
            ]
        else:
            whole = [float(thresholds.mean())]
        return torch.full((shape[0],), 1 / max([*whole, 1.0]), dtype=torch.float64)

    @staticmethod
    def _per(unit: Tensor, values: npt.NDArray[Any]) -> Tensor:
        """Return the unit of each value: one for all, per channel, or per neuron."""
        if values.shape == (1,) and len(unit) > 1:
            return unit.mean().reshape(1)
        return unit.reshape(-1, *[1] * (values.ndim - 1))

    def _add(
        self, where: nn.ParameterDict, name: str, weight: npt.NDArray[Any], reader: str | None
    ) -> None:
        mixed = bool((weight > 0).any() and (weight < 0).any())
        odd = bool((weight % 2).any())
        most = float(ONE_SIGN_MAX if odd else integers.WEIGHT_MAX)
        low = 0.0 if not mixed and bool((weight >= 0).all()) else -most
        high = most if mixed or low == 0 else 0.0
        if mixed and odd:
            raise CaptureError(f"{name}: weights of both signs are odd, which no chip holds")
        self._steps[name] = (1 if odd else 2, low, high)
        node = self.start[name]
        exponent = 2.0 ** (node.exponent if isinstance(node, (Conv, Dense)) else 0)
        real = torch.from_numpy(np.array(weight, np.float64)) * self._row_unit(name) * exponent
        trained = reader is not None and not self._gate(self.start[reader])
        where[self._keys[name]] = nn.Parameter(real.float(), trained)

    def _row_unit(self, name: str) -> Tensor:
        """The unit of current of each row of a weight."""
        reader = self.readers.get(name, name)
        shape = self.start[name].packed("weight").shape
        known = self._keys[reader] in self.populations
        unit = self.unit(reader) if known else torch.ones(1, dtype=torch.float64)
        if shape[0] % len(unit):
            unit = unit.mean().reshape(1)
        rows = unit.repeat_interleave(shape[0] // len(unit))
        return rows.reshape(-1, *[1] * (len(shape) - 1))

    def integer_weight(self, name: str) -> Tensor:
        """Integer weights of a synapse, or of a recurrent population."""
        step, low, high = self._steps[name]
        units = self._in_units(name).clamp(low, high)
        whole: Tensor = units + (step * (units / step).round() - units).detach()
        return whole

    def _in_units(self, name: str) -> Tensor:
        node = self.start[name]
        own = isinstance(node, HEARS_ITSELF)
        real = (self.own if own else self.weights)[self._keys[name]].double()
        exponent = 1.0 if own else 2.0**node.exponent  # type: ignore[attr-defined]
        units: Tensor = real / (self._row_unit(name) * exponent)
        return units

    @torch.no_grad()
    def clipped(self) -> dict[str, tuple[int, int]]:
        """Of each trained synapse: its weights, and how many lie beyond what 8 bits hold."""
        found = {}
        for name, (_, low, high) in self._steps.items():
            units = self._in_units(name)
            beyond = (units < low - 1) | (units > high + 1)
            found[name] = units.numel(), int(beyond.sum())
        return found

    def node_of(self, parameter: str) -> str:
        """The node whose values a parameter holds."""
        key = parameter.rpartition(".")[2]
        return next(name for name, own in self._keys.items() if own == key)

    def integer_bias(self, name: str) -> Tensor:
        """Integer biases of a population, in its shape or a shape that broadcasts to it."""
        node: Any = self.start[name]
        bias = self.biases[self._keys[name]].double() / self._per(self.unit(name), node.bias)
        bias = bias.clamp(-integers.BIAS_MAX, integers.BIAS_MAX)
        whole: Tensor = bias + (bias.round() - bias).detach()
        return whole

    @torch.no_grad()
    def graph(self) -> Graph:
        """Return the graph of the current integers."""
        nodes = []
        for node in self.start:
            changes: dict[str, Any] = {}
            if isinstance(node, (Conv, Dense, *HEARS_ITSELF)):
                changes["weight"] = _whole(self.integer_weight(node.name))
            if node.name in self.names:
                changes["bias"] = _whole(self.integer_bias(node.name))
            nodes.append(node.replace(**changes) if changes else node)
        return self.start.derived(nodes)

    @torch.no_grad()
    def bound(self) -> list[str]:
        """Reduce weights where a current could exceed 17 bits; call it after an optimizer step.

        Returns:
            The populations whose weights were reduced.
        """
        changed: list[str] = []
        for _ in range(TRIES):  # rounding may increase a sum again
            found = self._shrink()
            if not found:
                break
            changed += [name for name in found if name not in changed]
        return changed

    def _shrink(self) -> list[str]:
        graph, changed = self.graph(), []
        for name in self.names:
            facts = graph.facts(name)
            worst = np.maximum(np.abs(facts.reach_low), np.abs(facts.reach_high))
            own = graph[name].own_weight
            if own is not None:
                worst = worst + np.abs(own).sum(1).reshape(facts.shape[0], -1).max(1)
            declared = graph.is_declared(name)  # and checked: sums must arrive whole
            over = worst / (integers.ACCUMULATOR_MAX if declared else integers.CURRENT_MAX)
            if (over <= 1).all():
                continue
            changed.append(name)
            factor = torch.from_numpy(np.where(over > 1, SLACK / over, 1.0))
            weights = [self.weights[self._keys[source]] for source in graph[name].inputs]
            if own is not None:
                weights.append(self.own[self._keys[name]])
            for weight in weights:
                rows = factor.repeat_interleave(len(weight) // len(factor)).to(weight.device)
                weight.mul_(rows.reshape(-1, *[1] * (weight.ndim - 1)))
        return changed

    def messages(self, frames: Tensor) -> dict[str, Tensor]:
        """Return the messages of every population, (T, N, *shape) of float64."""
        graph, steps = self.start, self.start.steps
        if tuple(frames.shape[2:]) != graph.nodes[0].shape or len(frames) != steps:  # type: ignore[attr-defined]
            shape = ", ".join(str(n) for n in graph.nodes[0].shape)  # type: ignore[attr-defined]
            raise FramesError(
                f"frames are {tuple(frames.shape)}; the network takes ({steps}, N, {shape})"
            )
        now: dict[str, Tensor] = {}
        device = next(self.buffers()).device
        for node in graph:
            if isinstance(node, Input):
                now[node.name] = frames.to(device, torch.float64)
                continue
            arriving = now[node.inputs[0]]
            for source in node.inputs[1:]:
                arriving = arriving + now[source]
            if isinstance(node, (Conv, Dense)):
                now[node.name] = self._current(node, arriving)
            elif isinstance(node, Delay):
                late = torch.zeros_like(arriving)
                late[node.steps :] = arriving[: max(steps - node.steps, 0)]
                now[node.name] = late
            else:
                now[node.name] = self._neurons(node, arriving)
        return {name: now[name] for name in self.names}

    def forward(self, frames: Tensor) -> Tensor | tuple[Tensor, ...]:
        sent = self.messages(frames)
        found = []
        for name in self.outputs:
            out = sent[name]
            if isinstance(self.start[name], SILENT):
                unit = self.unit(name).reshape(-1, *[1] * (out.ndim - 3))
                out = out * unit / (1 << integers.STATE_SHIFT)
            found.append(out.float())
        return found[0] if len(found) == 1 else tuple(found)

    def _current(self, node: Conv | Dense, x: Tensor) -> Tensor:
        single = largest_sum(self.start, node) < EXACT // 4
        on_cpu = x.device.type == "cpu"
        single = single and (on_cpu or x.is_meta or exact_products.fault(x.device) is None)
        exact = torch.float32 if single else torch.float64
        weight, flat = self.integer_weight(node.name).to(exact), x.to(exact).flatten(0, 1)
        if isinstance(node, Conv):
            geometry = (node.stride, node.padding, node.dilation, node.groups)
            if on_cpu:
                out = F.conv2d(flat, weight, None, *geometry)
            else:
                out = exact_products.conv2d(flat, weight, *geometry)
        else:
            out = exact_products.matmul(flat.flatten(1), weight.T)
        shape = self.start.facts(node.name).shape
        return out.double().reshape(*x.shape[:2], *shape) * 2.0**node.exponent

    def _neurons(self, node: Node, current: Tensor) -> Tensor:
        c, bias = self.constants(node.name), self.integer_bias(node.name)
        shape = self.start.facts(node.name).shape
        if bias.shape != shape:
            bias = bias.reshape(-1, *[1] * (len(shape) - 1))
        bias = bias.expand(shape)[None]
        u = v = sent = torch.zeros_like(current[0])
        own = self.integer_weight(node.name) if isinstance(node, HEARS_ITSELF) else None
        found = []
        for arriving in current:
            step = arriving
            if own is not None:
                step = step + F.linear(sent.flatten(1), own).reshape(step.shape)
            u, v, sent = _Neurons.apply(u, v, step, bias, c)  # type: ignore[no-untyped-call]
            found.append(sent)
        return torch.stack(found)


@takes(graph=is_graph, units=keyed(CaptureError))
def trainable(
    graph: Graph,
    units: Mapping[str, npt.NDArray[Any]] | None = None,
    surrogate: str = "arctan",
    device: str = "cpu",
) -> Trainable:
    """Return a torch module that trains a graph of integers further; see :class:`Trainable`.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        CaptureError: see there.
        BackendError: there is no such device.
    """
    return Trainable(graph, units, surrogate).to(device_of(device))


def _per_channel(name: str, units: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Given units of a population, one for each channel.

    Raises:
        CaptureError: they are no positive numbers, do not fit its shape, or differ in a channel.
    """
    try:
        found = np.asarray(units, np.float64)
        rows = np.broadcast_to(found, shape).reshape(shape[0], -1)
    except (TypeError, ValueError):
        raise CaptureError(
            f"units of {name} are {units!r:.100}; give positive numbers that broadcast to {shape}"
        ) from None
    if not (np.isfinite(rows) & (rows > 0)).all():
        raise CaptureError(f"units of {name} are {units!r:.100}; give positive numbers")
    if (rows != rows[:, :1]).any():
        raise CaptureError(f"units of {name} differ within a channel; give one for each channel")
    return rows[:, 0].copy()


def _whole(x: Tensor) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = x.detach().cpu().numpy().astype(np.int64)
    return found
