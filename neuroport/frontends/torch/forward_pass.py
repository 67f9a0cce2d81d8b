"""Run a library's forward pass on traced tensors, and track its neurons' states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.capture.forward import evaluating
from neuroport.capture.source_lines import defined, enter, here
from neuroport.errors import CaptureError
from neuroport.frontends.nir.reading import Node, Shape
from neuroport.frontends.torch.network_builder import FRAMES, Building, window
from neuroport.frontends.torch.neuron_states import (
    is_fresh,
    is_zero,
    keep_states,
    kept_states,
    numbers_of,
    restored,
)
from neuroport.frontends.torch.neurons import JELLY, Cell, cell_of, is_neuron
from neuroport.frontends.torch.traced_tensor import (
    BATCH_FIRST,
    SAMPLES,
    STATIC,
    STEP,
    TRACERS,
    WHOLE,
    Lost,
    Origin,
    Traced,
    refusals_noted,
)
from neuroport.frontends.torch.tracer import Tracer
from neuroport.nets.neuron import Lif, Mlf

# ways to call forward: with all steps, step by step, or with one picture for all steps
WAYS = (WHOLE, STEP, STATIC)
INPUTS = ("input_", "x", "x_seq")  # names of what a neuron reads, in both libraries
_NOT_OF_FRAMES = "a {} that does not depend on the frames"
FRAMES_FIT = "the frames are (T, N, *shape) of what it takes, and all that it is given"


@dataclass(eq=False)
class Population:
    """Calls of a neuron module that share their states.

    Attributes:
        name: name of its node.
        sends: the node of its messages, which is another one if spikes have a size.
        input: the node that it reads.
        steps: number of steps for which it was called.
    """

    name: str
    module: nn.Module
    cell: Cell
    sends: str
    input: str
    steps: int = 0
    begun: int = 0  # number of the call of forward


@dataclass(eq=False)
class Followed:
    """A forward pass that was followed.

    Attributes:
        way: how forward is called, ``TN`` (or ``NT``), ``step`` or ``static``.
        outputs: the returned nodes, in order.
        returned: what every call of forward returned, in traced tensors.
        said: what the host computes of these nodes before it returns it, such as a softmax.
        counts_samples: whether forward asks for the number of samples.
    """

    net: nn.Module
    way: str
    steps: int
    building: Building
    populations: list[Population] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    returned: list[Any] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    counts_samples = False


def follow(net: nn.Module, shape: Shape, steps: int, batch_first: bool = False) -> Followed:
    """Return the network of ``net`` for frames (T, N, *shape).

    Raises:
        CaptureError: names the neuron or the line, the reason, and what to change.
    """
    failed: list[tuple[int, bool, int, int, CaptureError]] = []  # progress of each way
    for way in (BATCH_FIRST,) if batch_first else WAYS:
        one = _Following(net, shape, steps, way)
        try:
            return one.run()
        except CaptureError as error:
            another_way = (" fails (", " fails when", "batch_first=True if forward takes")
            told = not any(said in error.message for said in another_way)
            far = one.calls, told, len(one.building.nodes), one.tracer.followed
            failed.append((*far, error))
    raise max(failed, key=lambda each: each[:4])[4]


@contextmanager
def neurons_replaced(net: nn.Module, call: Callable[..., Any]) -> Iterator[None]:
    """Context that replaces each neuron's forward by ``call(path, module, *args, **kwargs)``.

    Afterwards every module has the attributes, parameters and buffers that it had.

    Raises:
        CaptureError: a neuron has a forward of its own.
    """
    for path, module in net.named_modules():
        if is_neuron(module) and "forward" in vars(module):
            raise CaptureError(
                f"neuron {path or type(module).__name__!r} has a forward of its own, which no "
                f"integer neuron has; use {type(module).__name__} as it is"
            )
    with restored(net):
        for path, module in net.named_modules():
            if is_neuron(module):
                module.forward = partial(call, path, module)
        yield


def begin(net: nn.Module) -> None:
    """Reset the states that modules keep."""
    for module in net.modules():
        if "_memories" in vars(module):
            module.reset()
            vars(module).pop("v_seq", None)
        elif is_neuron(module):
            keep_states(module, lambda _: torch.zeros(0))


class _Following:
    def __init__(self, net: nn.Module, shape: Shape, steps: int, way: str) -> None:
        self.net, self.steps, self.way, self.shape = net, steps, way, shape
        self.calls = 0
        self.forwards = 0
        self.building = Building(shape)
        self.running: list[str] = []
        named = lambda: self.running[-1] if self.running else ""  # noqa: E731
        self.tracer = Tracer(self.building, steps, named, way == STATIC)
        self.found = Followed(net, way, steps, self.building)
        self.constants: dict[str, Cell] = {}  # path -> its neuron before forward begins
        self.hidden: dict[str, tuple[Population, Any]] = {}  # path -> token of the state
        self.named: dict[str, Population] = {}
        self.firsts: dict[str, str] = {}  # node of a constant at step 0 -> where it is read
        self.reached: dict[str, int] = {}  # path -> steps of its last population

    def run(self) -> Followed:
        _refuse_own_neurons(self.net)
        TRACERS.append(self.tracer)
        try:
            with ExitStack() as stack:
                stack.enter_context(evaluating(self.net))
                stack.enter_context(torch.no_grad())
                stack.enter_context(neurons_replaced(self.net, self.neuron))
                stack.enter_context(self._names())
                begin(self.net)
                self._look_at_constants()
                self._forwards()
        finally:
            TRACERS.pop()
        self._finish()
        self.found.counts_samples = self.tracer.counted
        return self.found

    def _forwards(self) -> None:
        origin = Origin(FRAMES, self.way)
        for step in range(self.steps) if self.way == STEP else (None,):
            self.forwards += 1
            given = self.tracer.tensor(replace(origin, step=step))
            self.found.returned.append(enter(self.net, given, FRAMES_FIT))
        if self.tracer.refused is not None:  # forward has caught it
            raise self.tracer.refused

    def _look_at_constants(self) -> None:
        for path, module in self.net.named_modules():
            if is_neuron(module):
                with suppress(CaptureError):  # refused where it is called, if it is
                    self.constants[path] = cell_of(path, module)

    @contextmanager
    def _names(self) -> Iterator[None]:
        """Context that tracks the running module, for names of nodes."""
        handles = []
        for path, module in self.net.named_modules():

            def enters(*_: Any, path: str = path) -> None:
                self.running.append(path)

            def leaves(*_: Any) -> None:
                self.running.pop()

            handles.append(module.register_forward_pre_hook(enters))
            handles.append(module.register_forward_hook(leaves))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    # -- neurons -------------------------------------------------------------------------------

    def neuron(self, path: str, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Answer a call of a neuron."""
        self.tracer.inside += 1
        try:
            with refusals_noted():
                return self._called(path, module, *args, **kwargs)
        finally:
            self.tracer.inside -= 1

    def _called(self, path: str, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        name = path or type(module).__name__
        cell = cell_of(name, module)
        before = self.constants.setdefault(path, cell)
        if changed := [key for key in cell.values if not _alike(cell, before, key)]:
            raise CaptureError(
                f"neuron {name!r} ({here()}): forward changes its {changed[0]}; a neuron has the "
                "same constants at all steps: set them before, outside of forward"
            )
        given = [*args, *(kwargs.pop(k) for k in INPUTS if k in kwargs)][:1]
        states = dict(zip(cell.states, args[1:], strict=False)) | kwargs
        states = {key: value for key, value in states.items() if value is not None}
        unknown = [key for key in states if key not in cell.states]
        if unknown or len(args) > 1 + len(cell.states) or not given:
            raise CaptureError(f"neuron {name!r} is called with other arguments ({here()})")
        reached = self._reached(path, cell, states)
        first = self._first(name, given[0]) if not reached and not cell.whole else None
        origin = first or self._now(reached, cell, self._reads(name, given[0]))
        population = self._population(path, name, module, cell, origin, states)
        steps = self._steps(name, population, cell, origin)
        self.calls += 1
        return self._sent(path, module, population, cell, origin, steps)

    def _reads(self, name: str, value: Any) -> Origin:
        if isinstance(value, Traced) and value.origin is not None and value.origin.plain:
            if value.origin.mean:
                raise CaptureError(
                    f"neuron {name!r} ({here()}) reads an average over steps; let it read each step"
                )
            return value.origin
        if isinstance(value, Traced):
            said = value.made_by or "a state of a neuron, or a sum over steps"
        else:
            said = _NOT_OF_FRAMES.format(type(value).__name__)
        raise CaptureError(
            f"neuron {name!r} ({here()}) reads what {said}"
            if isinstance(value, Traced) and value.made_by
            else f"neuron {name!r} ({here()}) reads {said}"
        )

    def _first(self, name: str, value: Any) -> Origin | None:
        """What a neuron reads at step 0 of messages of the step before: a constant.

        Its node is none of the network: what the neuron reads at step 1 takes its place, and
        whether that sends this constant at step 0 is checked with numbers.
        """
        if isinstance(value, Traced) or not isinstance(value, Tensor):
            return None
        if value.ndim < 2 or len(value) != SAMPLES:
            return None
        own, shape = self.building.free(f"{name}.first"), tuple(value.shape[1:])
        self.building.nodes[own] = Node(own, "Pass", (), frozenset(), shape, shape)
        self.firsts[own] = str(here())
        return Origin(own, STEP, 0)

    def _reached(self, path: str, cell: Cell, states: dict[str, Any]) -> int:
        """Steps that the population of a call has behind it, as far as its states say."""
        if cell.hidden or not states:
            return self.reached.get(path, 0)
        origins = [getattr(value, "origin", None) for value in states.values()]
        names = [origin.node for origin in origins if origin is not None]
        return self.named[names[0]].steps if names and names[0] in self.named else 0

    def _now(self, reached: int, cell: Cell, origin: Origin) -> Origin:
        """Return a neuron's input; a value of the previous step becomes a late one."""
        if cell.whole or origin.lies != STEP or not reached or origin.step != reached - 1:
            return origin
        try:
            return replace(origin, node=self.tracer.late(origin.node), step=reached)
        except Lost:
            return origin

    def _population(
        self,
        path: str,
        name: str,
        module: nn.Module,
        cell: Cell,
        origin: Origin,
        states: dict[str, Any],
    ) -> Population:
        """Return the population of a call: that of the given states, or a new one."""
        before = None
        if cell.hidden or not states:
            kept = self.hidden.get(path)
            if kept is not None and kept_states(module).get("mem") is kept[1]:
                before = kept[0]
            elif not is_fresh(module):
                raise CaptureError(
                    f"neuron {name!r} ({here()}): forward changes its states; it may reset them "
                    "where a sample begins, and nothing else"
                )
        else:
            traced = [v for v in states.values() if isinstance(v, Traced)]
            for value in states.values():
                if not isinstance(value, Traced) and not is_zero(value):
                    raise CaptureError(
                        f"neuron {name!r} ({here()}) begins with a state other than 0; begin with "
                        "zeros"
                    )
            if traced:
                before = self._of_states(name, module, cell, states)
        if before is None:
            return self._begun(name, module, cell, origin, not cell.hidden and bool(states))
        if before.input != origin.node:
            late = self.building.hears_late
            again = origin.step is not None and origin.step < before.steps
            if cell.whole or again or (late(origin.node) and late(before.input)):
                raise self._twice(name)
            if before.steps != 1 or not self.building.hears_late(origin.node):
                raise CaptureError(self._differs(name, before, origin.node))
            # in the first step late values are zeros; this is checked with
            # numbers
            node = self.building.nodes[before.name]
            inputs = tuple(sorted({*node.inputs} - {before.input} | {origin.node}))
            self.building.nodes[before.name] = replace(node, inputs=inputs)
            if self.firsts.pop(before.input, None):
                del self.building.nodes[before.input]
            before.input = origin.node
        return before

    def _of_states(
        self, name: str, module: nn.Module, cell: Cell, states: dict[str, Any]
    ) -> Population:
        origins = {key: getattr(value, "origin", None) for key, value in states.items()}
        first = next((o for o in origins.values() if o is not None), None)
        population = self.named.get("" if first is None else first.node)

        def given_back(key: str, origin: Origin | None) -> bool:
            if origin is None or population is None or origin.step != population.steps - 1:
                return False
            if key == "spk":
                return not origin.state and origin.node == population.sends
            return origin.state == key and origin.node == population.name

        if population is not None and population.module is not module:
            raise CaptureError(
                f"neuron {name!r} ({here()}) is given states of {population.name!r}; give it those "
                "that it gave back itself"
            )
        good = set(states) == set(cell.states)
        good = good and all(given_back(key, origin) for key, origin in origins.items())
        if not good or population is None:
            raise CaptureError(
                f"neuron {name!r} ({here()}) is given states that are not those it gave back one "
                "step before; give it those, unchanged"
            )
        return population

    def _begun(
        self, name: str, module: nn.Module, cell: Cell, origin: Origin, own_states: bool
    ) -> Population:
        at = 0 if origin.step is None else origin.step
        again = [p for p in self.found.populations if p.module is module]
        twice = any(p.steps == at + 1 and p.begun == self.forwards for p in again)
        if twice and not own_states:
            raise self._twice(name)
        if at > 0 or (again and any(p.begun != self.forwards for p in again)):
            raise CaptureError(
                f"neuron {name!r} ({here()}) begins anew at step {max(at, 1)}; reset states where "
                "a sample begins, and not between its steps"
            )
        shape = self.building.shape(origin.node)
        own = self.building.free(name)
        values = {}
        for key, value in cell.values.items():
            try:
                values[key] = np.broadcast_to(value, shape)
            except ValueError:
                raise CaptureError(
                    f"neuron {name!r}: {key} is {value.shape} for neurons {shape}; give one value, "
                    "or one for each"
                ) from None
        inputs: tuple[str, ...] = (origin.node,)
        if cell.own is not None:
            heard = self._own(own, cell.own, shape)
            inputs = tuple(sorted((origin.node, heard)))
            self.building.loops[own] = (own,)
        self.building.nodes[own] = Node(
            own, "Neuron", inputs, frozenset(), shape, shape, values, {}
        )
        self.building.binary.add(own)
        sends = own
        if cell.factor is not None:
            sends = self.building.scaled(f"{own}.factor", own, np.broadcast_to(cell.factor, shape))
        found = Population(own, module, cell, sends, origin.node, begun=self.forwards)
        self.found.populations.append(found)
        self.named[own] = self.named[sends] = found
        return found

    def _own(self, neuron: str, module: nn.Module, shape: Shape) -> str:
        """Return the node of a population's own spikes of the previous step."""
        values: dict[str, Any] = {}
        sizes: dict[str, tuple[int, ...]] = {}
        if isinstance(module, nn.Linear):
            kind, values["weight"] = "Linear", numbers_of(module.weight)
        elif isinstance(module, nn.Conv2d):
            kind, values["weight"] = "Conv2d", numbers_of(module.weight)
            sizes = window(values["weight"].shape[2:], (1, 1), _recurrent_pads(neuron, module))
        elif hasattr(module, "V"):
            kind, values["scale"] = "Scale", np.broadcast_to(numbers_of(module.V), shape)
        else:
            raise CaptureError(
                f"neuron {neuron!r}: its recurrent weights are a {type(module).__name__}; use "
                "nn.Linear, nn.Conv2d, or one weight for each neuron (all_to_all=False)"
            )
        bias: Tensor | None = getattr(module, "bias", None)
        if bias is not None:
            rest = (1,) * (len(shape) - 1)
            values["bias"] = np.broadcast_to(numbers_of(bias).reshape(-1, *rest), shape)
        name = self.building.free(f"{neuron}.recurrent")
        late = frozenset((neuron,))
        self.building.nodes[name] = Node(name, kind, (neuron,), late, shape, shape, values, sizes)
        return name

    def _twice(self, name: str) -> CaptureError:
        return CaptureError(
            f"neuron {name!r} ({here()}) is called twice in a step; give every layer a neuron "
            "module of its own"
        )

    def _differs(self, name: str, population: Population, now: str) -> str:
        return (
            f"neuron {name!r} ({here()}) reads {now!r} at step {population.steps}, and "
            f"{population.input!r} before; a synapse has one weight for all steps: what changes "
            "from step to step, as BatchNormTT does, has none. Use the same layers, and one "
            "BatchNorm, at every step"
        )

    def _steps(self, name: str, population: Population, cell: Cell, origin: Origin) -> int:
        """Return the number of steps of a call."""
        if cell.whole:
            if origin.lies == WHOLE and population.steps == 0:
                return self.steps
            why = "takes all steps at once (step_mode 'm'), and is given " + (
                "them twice; reset it, or use one neuron module for each layer"
                if population.steps
                else "one step; call functional.set_step_mode(net, 's'), or give it all steps"
            )
            raise CaptureError(f"neuron {name!r} ({here()}) {why}")
        if origin.lies == STATIC:
            if self.way == STATIC and population.steps < self.steps:
                return 1
            raise CaptureError(
                f"neuron {name!r} ({here()}) is called for more steps than the {self.steps} of the "
                "frames; give frames (T, N, *shape) with as many steps as forward takes"
            )
        if origin.lies != STEP:
            raise CaptureError(
                f"neuron {name!r} ({here()}) takes one step, and is given all; call it for each "
                "step (SpikingJelly: functional.set_step_mode(net, 'm'))"
            )
        if origin.step != population.steps:
            raise CaptureError(
                f"neuron {name!r} ({here()}) is called at step {origin.step} after "
                f"{population.steps} steps; use one neuron module for each layer, and every step"
            )
        return 1

    def _sent(
        self,
        path: str,
        module: nn.Module,
        population: Population,
        cell: Cell,
        origin: Origin,
        steps: int,
    ) -> Any:
        if cell.whole:
            sent = Origin(population.sends, WHOLE)
        else:
            sent = Origin(population.sends, STEP, population.steps)
        population.steps += steps
        self.reached[path] = population.steps
        spikes = self.tracer.tensor(sent)

        now = replace(sent, lies=STEP, step=population.steps - 1)

        def token(state: str) -> Traced:
            if state == "spk":
                return self.tracer.tensor(now)
            return self.tracer.tensor(replace(now, node=population.name, state=state))

        states = [spikes if state == "spk" else token(state) for state in cell.states]
        keep_states(module, token)
        self.hidden[path] = population, kept_states(module).get("mem")
        if cell.library == JELLY or not cell.returns:
            return spikes
        if cell.states == ("spk", "mem"):
            return tuple(states)
        return (spikes, *states)

    # -- what it returns -----------------------------------------------------------------------

    def _finish(self) -> None:
        found = self.found
        forward = f"{type(self.net).__name__}.forward{defined(self.net)}"
        if not found.populations:
            raise CaptureError(f"{forward} calls no neuron")
        for population in found.populations:
            if population.steps != self.steps:
                raise CaptureError(
                    f"neuron {population.name!r} is called for {population.steps} of the "
                    f"{self.steps} steps of the frames; give frames (T, N, *shape) with as many "
                    "steps as forward takes"
                )
            if population.input in self.firsts:
                raise CaptureError(
                    f"neuron {population.name!r} ({self.firsts[population.input]}) reads "
                    f"{_NOT_OF_FRAMES.format('Tensor')}"
                )
        self.building.close_loops()
        potentials: list[str] = []
        for tensor in _leaves(found.returned[-1]):
            origin = tensor.origin
            if origin is not None and not origin.state:
                whole = origin.seen is not None and len(origin.seen) == self.steps
                nodes = [self._summed(origin.node) if whole or origin.mean else origin.node]
            elif origin is not None:
                potentials.append(origin.node)
                continue
            else:
                if not tensor.host:
                    raise CaptureError(
                        f"{forward} returns what {tensor.made_by}; return what layers and neurons "
                        "send, and compute the rest outside"
                    )
                nodes = [node for node in sorted(tensor.of) if "\0" not in node]
                of_states = [node.partition("\0")[0] for node in sorted(tensor.of - {*nodes})]
                if nodes:
                    self._check_sent(forward, of_states)
                potentials += of_states
            found.outputs += [node for node in nodes if node not in found.outputs]
        found.outputs = [node for node in found.outputs if node != FRAMES]
        self._potentials(potentials)
        if not found.outputs:
            raise CaptureError(
                f"{forward} returns nothing that follows from its neurons; return what the last "
                "layer sends"
            )

    def _check_sent(self, forward: str, names: list[str]) -> None:
        """Refuse what the host computes of messages and of voltages that it is not sent."""
        for name in names:
            if self.named[name].cell.fires:
                raise CaptureError(
                    f"{forward} computes what it returns of spikes and of the voltage of {name!r}, "
                    "whose spikes reset it, and no chip sends it; compute it of spikes, or let the "
                    "neuron never reset (reset_mechanism='none')"
                )

    def _summed(self, name: str) -> str:
        """What the host averages or adds up over all steps: a neuron, whose spikes a run counts, or
        a readout that adds up, of currents and of what is made of spikes, such as a selection."""
        if self.building.sender(name).kind in ("Neuron", "Threshold"):
            return name
        shape = self.building.shape(name)
        keys = {"gain": 1.0, "current_leak": 1.0, "voltage_leak": 0.0, "bias": 0.0}
        values = {key: np.full(shape, value) for key, value in keys.items()}
        return self.building.node(f"{name}.sum", "Potential", (name,), shape, values)

    def _potentials(self, names: list[str]) -> None:
        """Voltages that are returned: of neurons that keep theirs, outputs; of others, left out."""
        sent = {self.named[o].name if o in self.named else o for o in self.found.outputs}
        for name in dict.fromkeys(names):
            population = self.named[name]
            if population.cell.fires:
                if not sent:
                    raise CaptureError(
                        f"{type(self.net).__name__}.forward{defined(self.net)} returns the voltage "
                        f"of {name!r}, whose spikes reset it, and no chip sends it; return its "
                        "spikes, or let it never reset (reset_mechanism='none')"
                    )
                continue
            node = self.building.nodes[name]
            values = {
                key: value
                for key, value in node.values.items()
                if key not in ("threshold", "inclusive", "subtract")
            }
            if name in self.building.loops:
                continue
            own = self.building.free(f"{name}.voltage")
            self.building.nodes[own] = replace(node, name=own, kind="Potential", values=values)
            self.found.outputs.append(own)


def _refuse_own_neurons(net: nn.Module) -> None:
    """Refuse neuroport's neurons: those of a library have other states and another order."""
    for path, module in net.named_modules():
        if isinstance(module, (Lif, Mlf)):
            raise CaptureError(
                f"{path!r} is a {type(module).__name__} of neuroport, in a network with neurons of "
                "a library; use neurons of that library, and nn.MaxPool2d for a maximum of spikes"
            )


def _alike(one: Cell, other: Cell, key: str) -> bool:
    return key in other.values and np.array_equal(one.values[key], other.values[key])


def _recurrent_pads(neuron: str, module: nn.Conv2d) -> tuple[int, int, int, int]:
    """Padding (top, bottom, left, right) of a convolution that keeps the size of its map.

    Raises:
        CaptureError: it is another convolution.
    """
    kernel = module.kernel_size
    plain = module.stride == module.dilation == (1, 1) and module.groups == 1
    keeps = module.padding == "same" or module.padding == tuple(n // 2 for n in kernel)
    if not plain or not keeps or module.padding_mode != "zeros" or not all(n % 2 for n in kernel):
        raise CaptureError(
            f"neuron {neuron!r}: its recurrent weights are {module}; use a convolution of odd "
            "kernels that keeps the size of the map, with stride, dilation and groups of 1"
        )
    return (kernel[0] // 2,) * 2 + (kernel[1] // 2,) * 2


def _leaves(out: Any) -> Iterator[Traced]:
    if isinstance(out, Traced):
        yield out
    elif isinstance(out, dict):
        for each in out.values():
            yield from _leaves(each)
    elif isinstance(out, (tuple, list)):
        for each in out:
            yield from _leaves(each)


__all__ = ["Followed", "Lost", "Population", "begin", "follow", "neurons_replaced"]
