"""Check a captured network numerically against the library's own module.

Forward runs again on plain tensors with random spikes and states as the output of every neuron, so
that the check does not depend on which neurons fire. Each neuron must then receive the same current
as in the captured network, and the states that it gave back, and forward must return what the
captured network sends. In addition, each kind of neuron runs alone on random currents and is
compared with its captured form. Library and interpreter share only these numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import starmap, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from neuroport.capture.forward import evaluating
from neuroport.capture.source_lines import defined, enter
from neuroport.errors import CaptureError
from neuroport.frontends.nir.interpreter import RealCell, interpret
from neuroport.frontends.nir.reading import Array, Network, Node, Shape
from neuroport.frontends.torch.forward_pass import (
    Followed,
    Population,
    begin,
    keep_states,
    kept_states,
    neurons_replaced,
)
from neuroport.frontends.torch.network_builder import FRAMES, Building
from neuroport.frontends.torch.neurons import JELLY
from neuroport.frontends.torch.traced_tensor import (
    BATCH_FIRST,
    FLAT,
    ONE,
    STATIC,
    STEP,
    WHOLE,
    Origin,
    Traced,
)

SAMPLES = 3  # another number than while forward is followed: it may not depend on it
CLOSE = (
    1e-3  # relative to the largest value: float32 against float64, through norms of many channels
)
TIES = 1e-4  # relative to a threshold: within this distance rounding decides
STEPS = 24  # steps of a neuron that runs alone


def check(found: Followed, frames: npt.NDArray[Any]) -> None:
    """Compare the captured network with the module, on frames like the given ones.

    Args:
        frames: real numbers (T, N, *shape), of which range and first sample matter.

    Raises:
        CaptureError: names the neuron that differs.
    """
    for population in found.populations:
        _check_neuron(found, population)
    rng = np.random.default_rng(len(found.populations))
    drawn = frames[:, rng.integers(0, frames.shape[1], SAMPLES)]
    noise = rng.permutation(drawn.reshape(-1)).reshape(drawn.shape)
    if found.way == STATIC:
        noise = np.repeat(noise[:1], len(noise), 0)
    _check_forward(found, noise.astype(np.float32), rng)


# -- forward -----------------------------------------------------------------------------------


def called(found: Followed, frames: npt.NDArray[Any]) -> Any:
    """Run the module on frames (T, N, *shape), in the way in which it is called."""
    given = torch.from_numpy(np.ascontiguousarray(frames))
    if found.way == STEP:
        return [enter(found.net, step) for step in given]
    if found.way == STATIC:
        return enter(found.net, given[0])
    return enter(found.net, given.transpose(0, 1) if found.way == BATCH_FIRST else given)


def _check_forward(found: Followed, frames: npt.NDArray[Any], rng: np.random.Generator) -> None:
    drawn = _Drawn(found, int(rng.integers(1 << 31)))
    with ExitStack() as stack:
        stack.enter_context(evaluating(found.net))
        stack.enter_context(torch.no_grad())
        stack.enter_context(neurons_replaced(found.net, drawn.neuron))
        begin(found.net)
        out = called(found, frames)
    steps = min(found.steps, *(len(read) for read in drawn.reads.values()))
    if steps < found.steps:
        raise CaptureError(
            "forward calls its neurons for fewer steps with other values; what it does must be the "
            "same for all frames"
        )
    values = _compare(found, frames, drawn)
    _compare_returned(found, out if found.way == STEP else [out], values, drawn)


class _Drawn:
    """Neurons that read what they are given, and send spikes and states drawn at random.

    Attributes:
        reads, sends, states: what each population read, sent and gave back at each step; states by
            their names.
    """

    def __init__(self, found: Followed, seed: int) -> None:
        self.found = found
        self.reads: dict[str, list[Array]] = {p.name: [] for p in found.populations}
        self.sends: dict[str, list[Array]] = {p.name: [] for p in found.populations}
        self.states: dict[str, dict[str, list[Array]]] = {p.name: {} for p in found.populations}
        self.dice = torch.Generator().manual_seed(seed)
        self.last: dict[str, dict[str, Tensor]] = {}  # states of the last step, never changed
        self.given_back: dict[str, list[Tensor]] = {}  # the tensors that forward has of them
        self.of: dict[str, list[Population]] = {}
        for population in found.populations:
            self.of.setdefault(_path(found, population), []).append(population)

    def neuron(self, path: str, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else next(iter(kwargs.values()))
        cell = self.of[path][0].cell
        passed = dict(zip(cell.states, args[1:], strict=False))
        passed |= {name: kwargs[name] for name in cell.states if name in kwargs}
        passed = {name: value for name, value in passed.items() if value is not None}
        population = self._population(path, passed)
        self._check_states(population, passed or kept_states(module))
        spikes = (torch.rand(given.shape, generator=self.dice) < 0.4).to(given.dtype)
        numbers, sent = given.detach().double().numpy(), spikes.double().numpy()
        self.reads[population.name] += list(numbers) if cell.whole else [numbers]
        self.sends[population.name] += list(sent) if cell.whole else [sent]
        if cell.factor is not None:
            spikes = spikes * torch.from_numpy(np.asarray(cell.factor)).to(given.dtype)
        states = self._drawn_states(population, module, given, spikes)
        if cell.library == JELLY or not cell.returns:
            return spikes
        back = [spikes if name == "spk" else states[name] for name in cell.states]
        self.given_back[population.name] = back
        return tuple(back) if cell.states == ("spk", "mem") else (spikes, *back)

    def _population(self, path: str, passed: dict[str, Any]) -> Population:
        """The population of a call: that which gave back the states, or the first without any."""
        for population in self.of[path]:
            back = self.given_back.get(population.name, [])
            if any(value is one for value in passed.values() for one in back):
                return population
        waiting = [p for p in self.of[path] if len(self.reads[p.name]) < p.steps]
        return min(waiting or self.of[path], key=lambda p: len(self.reads[p.name]))

    def _check_states(self, population: Population, states: dict[str, Any]) -> None:
        """Refuse states that are not those of the step before."""
        step = len(self.reads[population.name])
        for name, value in states.items():
            want = self.last.get(population.name, {}).get(name)
            if step and want is not None and not _equal(value, want):
                raise CaptureError(
                    f"neuron {population.name!r} has another state at step {step} than it gave "
                    "back one step before (tried with numbers drawn at random); forward may hand "
                    "states on, and not change them"
                )

    def _drawn_states(
        self, population: Population, module: nn.Module, given: Tensor, spikes: Tensor
    ) -> dict[str, Tensor]:
        """States for the neuron to give back and to keep: numbers of all sizes and both signs."""
        sizes = 10 ** (4 * torch.rand(given.shape, generator=self.dice) - 1)
        made: dict[str, Tensor] = {}

        def state(name: str) -> Tensor:
            if name not in made:
                numbers = torch.randn(given.shape, generator=self.dice) * sizes
                made[name] = spikes if name == "spk" else numbers.to(given.dtype)
            return made[name]

        names = {*population.cell.states, *kept_states(module)}
        for name in sorted(names):
            numbers = state(name).double().numpy().copy()
            kept = self.states[population.name].setdefault(name, [])
            kept += list(numbers) if population.cell.whole else [numbers]
        now = {name: value[-1] if population.cell.whole else value for name, value in made.items()}
        self.last[population.name] = {name: value.clone() for name, value in now.items()}
        keep_states(module, lambda name: now[name])
        return made


def _equal(value: Any, want: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == want.shape and torch.equal(value, want)


def _path(found: Followed, population: Population) -> str:
    paths = (path for path, module in found.net.named_modules() if module is population.module)
    return str(next(paths))


def _compare(found: Followed, frames: npt.NDArray[Any], drawn: _Drawn) -> dict[str, list[Array]]:
    """Compare what neurons read; return what every node sends at each step."""
    values: dict[str, list[Array]] = {}
    network = found.building.network({}, "")
    cells = {
        name: RealCell(node, frames.shape[1], 1.0, "v_reset")
        for name, node in network.nodes.items()
        if node.kind not in ("Input", "Neuron", "Potential")
    }
    late: dict[str, Array] = {}
    sources = {source for node in network.nodes.values() for source in node.late}
    for step in range(found.steps):
        now: dict[str, Array] = {}
        for name, node in network.nodes.items():
            if node.kind == "Potential":
                continue
            if node.kind == "Input":
                now[name] = frames[step].astype(np.float64)
            elif node.kind == "Neuron":
                now[name] = drawn.sends[name][step]
            else:
                arriving = np.zeros((frames.shape[1], *node.takes))
                for source in node.inputs:
                    if source in node.late:
                        arriving += late.get(source, 0)
                    else:
                        arriving += now[source]
                now[name] = cells[name].step(arriving)
        for population in found.populations:
            got, want = drawn.reads[population.name][step], now[population.input]
            if not _close(got, want):
                raise CaptureError(
                    f"neuron {population.name!r} receives something else than {population.input!r} "
                    f"at step {step} (tried with spikes drawn at random); forward changes it on "
                    "the way, or does other things with other values"
                )
        late = {name: now[name] for name in sources}
        for name, value in now.items():
            values.setdefault(name, []).append(value)
    return values


def _close(got: Array, want: Array) -> bool:
    if got.shape != want.shape:
        return False
    size = max(float(np.abs(want).max(initial=0)), float(np.abs(got).max(initial=0)))
    return float(np.abs(got - want).max(initial=0)) <= CLOSE * size


# -- what forward returns ----------------------------------------------------------------------


def _compare_returned(
    found: Followed, returned: list[Any], values: dict[str, list[Array]], drawn: _Drawn
) -> None:
    """Compare what forward returned with what the captured network sends.

    What the host computed of it is noted in ``found.said``, unless it is the sum of all steps times
    a positive number: then its classes are those of the network.

    Raises:
        CaptureError: it is something else.
    """
    forward = f"{type(found.net).__name__}.forward{defined(found.net)}"
    steps_of: dict[tuple[str, str], set[int]] = {}
    reset = {p.name for p in found.populations if p.cell.fires}  # whose voltages are left out
    at_end = [tensor for tensor, _ in _pairs(found.returned[-1], returned[-1], forward)]
    for call, (traced, out) in enumerate(zip(found.returned, returned, strict=True)):
        last = call == len(returned) - 1
        pairs = list(_pairs(traced, out, forward))
        if not all(starmap(_same_node, zip_longest([tensor for tensor, _ in pairs], at_end))):
            raise CaptureError(
                f"{forward} returns something else at step {call} than at the last one; a network "
                "sends the same at all steps: use the same layers at every step"
            )
        for tensor, got in pairs:
            origin = tensor.origin
            if all("\0" in node and node.partition("\0")[0] in reset for node in tensor.of):
                continue
            if origin is None:
                if last and not _is_sum(tensor, got, values, drawn, found.steps):
                    found.said.append(f"returns what {tensor.computed or tensor.made_by}")
                continue
            want = _expected(origin, values, drawn)
            now = found.way != STEP or origin.step is None or origin.step == call
            scaled = origin.scaled and _is_multiple(got, want)
            if not now or not (scaled or _close(got, want)):
                raise CaptureError(
                    f"{forward} returns something else than what {origin.node!r} sends (tried with "
                    "spikes drawn at random); return what layers and neurons send at each step, "
                    "their sum or their mean over the steps, and compute the rest outside"
                )
            if origin.mean or (found.way == STEP and origin.step is not None):
                continue
            steps = {origin.step} if origin.step is not None else origin.seen
            if steps is not None and last:
                steps_of.setdefault((origin.node, origin.state), set()).update(steps)
    for (node, state), steps in steps_of.items():
        whole = len(steps) == found.steps
        final = steps == {found.steps - 1} and (state or node not in found.building.binary)
        if not whole and not final:
            told = ", ".join(map(str, sorted(steps)))
            found.said.append(f"returns of {node!r} only step {told}")


def _same_node(one: Traced | None, other: Traced | None) -> bool:
    if one is None or other is None:
        return False
    if one.origin is None or other.origin is None:
        return True  # of the host: what it returns at last counts
    return one.origin.node == other.origin.node


def _pairs(traced: Any, out: Any, forward: str) -> Iterator[tuple[Traced, Array]]:
    """Signals that were returned while forward was followed, with their numbers."""
    if isinstance(traced, Traced) and isinstance(out, Tensor):
        yield traced, out.detach().double().numpy()
        return
    if isinstance(traced, dict) and isinstance(out, dict) and traced.keys() == out.keys():
        traced, out = list(traced.values()), list(out.values())
    both = isinstance(traced, (tuple, list)) and isinstance(out, (tuple, list))
    if both and len(traced) == len(out):
        for one, other in zip(traced, out, strict=True):
            yield from _pairs(one, other, forward)
    elif isinstance(traced, Traced) or both:
        raise CaptureError(
            f"{forward} returns other things with other values; what it does must be the same for "
            "all frames"
        )


def _expected(origin: Origin, values: dict[str, list[Array]], drawn: _Drawn) -> Array:
    """The numbers of a signal, by its layout."""
    by_step = drawn.states[origin.node][origin.state] if origin.state else values[origin.node]
    whole = np.stack(by_step)
    if origin.seen is not None:
        return np.asarray(whole[sorted(origin.seen)].sum(0))
    if origin.mean:
        return np.asarray(whole.mean(0))
    found = {
        WHOLE: whole,
        BATCH_FIRST: whole.swapaxes(0, 1),
        FLAT: whole.reshape(-1, *whole.shape[2:]),
        STEP: whole[origin.step or 0],
        STATIC: whole[0],
        ONE: whole[:1],
    }
    return np.asarray(found[origin.lies])


def _is_sum(
    tensor: Traced, got: Array, values: dict[str, list[Array]], drawn: _Drawn, steps: int
) -> bool:
    """Whether it is what a node sends at all steps, or its sum or a voltage at the end, times a
    positive number."""
    if len(tensor.of) != 1:
        return False
    node, _, state = next(iter(tensor.of)).partition("\0")
    whole = np.stack(drawn.states[node][state] if state else values[node])
    if got.size == whole.size and _close(got.reshape(whole.shape), whole):
        return True
    want = drawn.states[node][state][steps - 1] if state else sum(values[node])
    return _is_multiple(got, np.asarray(want))


def _is_multiple(got: Array, want: Array) -> bool:
    if got.size != want.size:
        return False
    got = got.reshape(want.shape)
    factor = float((got * want).sum()) / (float((want * want).sum()) or 1.0)
    return factor > 0 and _close(got, factor * want)


# -- neurons -----------------------------------------------------------------------------------


def _check_neuron(found: Followed, population: Population) -> None:
    """Compare a neuron with its form; they may differ only at the threshold."""
    node = found.building.nodes[population.name]
    gain = np.asarray(node.values["gain"])
    level = float(np.abs(node.values["threshold"]).max()) / max(float(np.abs(gain).max()), 1e-12)
    level = level or 1.0
    rng = np.random.default_rng(1)
    shape = node.shape
    small = shape if math.prod(shape) <= 4096 else _smaller(node)
    x = level * rng.normal(0.4, 0.9, (STEPS, SAMPLES, *small)).astype(np.float32)
    at_once = np.float32(level) if np.unique(node.values["threshold"]).size == 1 else None
    if at_once is not None:
        x[0, 0] = at_once  # at the threshold, within the rounding of float32
    spikes = _alone(population, x)
    if not np.isin(spikes, (0, 1)).all():
        raise CaptureError(
            f"neuron {population.name!r} sends other numbers than 0 and 1; use a surrogate "
            "function that fires (and not one that passes real numbers)"
        )
    mini, voltages = _formed(found, population, small)
    want, v = _run_form(mini, x, voltages)
    _part_at_thresholds(population, node, spikes, want, v, small)


def _smaller(node: Node) -> Shape:
    """Return a few positions of a map, if all positions are equal."""
    alike = all(
        (
            np.asarray(v).reshape(node.shape[0], -1)[:, :1]
            == np.asarray(v).reshape(node.shape[0], -1)
        ).all()
        for v in node.values.values()
    )
    return (node.shape[0], *(min(n, 3) for n in node.shape[1:])) if alike else node.shape


def _formed(found: Followed, population: Population, small: Shape) -> tuple[Network, str]:
    node = found.building.nodes[population.name]
    building = Building(small)
    values = {key: _cut(value, small) for key, value in node.values.items()}
    inputs: tuple[str, ...] = (FRAMES,)
    recurrent = next(
        (
            n
            for n in found.building.nodes.values()
            if node.name in n.late and n.inputs == (node.name,)
        ),
        None,
    )
    if population.cell.own is not None and recurrent is not None:
        own = {
            key: value if key == "weight" else _cut(value, small)
            for key, value in recurrent.values.items()
        }
        building.nodes[recurrent.name] = Node(
            recurrent.name,
            recurrent.kind,
            (node.name,),
            recurrent.late,
            small,
            small,
            own,
            recurrent.sizes,
        )
        inputs = tuple(sorted((FRAMES, recurrent.name)))
        building.loops[node.name] = (node.name,)
    building.nodes[node.name] = Node(
        node.name, "Neuron", inputs, frozenset(), small, small, values, {}
    )
    return building.network({}, ""), node.name


def _cut(value: Any, shape: Shape) -> Array:
    array = np.asarray(value)
    if array.ndim != len(shape):
        return array
    return array[tuple(slice(0, n) for n in shape)]


def _run_form(network: Network, x: Array, name: str) -> tuple[Array, Array]:
    """Return the spikes of a single neuron, and the distance of its voltage from the threshold."""
    spikes = interpret(network, {FRAMES: x.astype(np.float64)}, 1.0, record=(name,))[name]
    node = network.nodes[name]
    cell = RealCell(node, x.shape[1], 1.0, "v_reset")
    own = [n for n in network.nodes.values() if node.name in n.late]
    distance = np.empty_like(spikes)
    for step in range(len(x)):
        arriving = x[step].astype(np.float64)
        for other in own:
            before = spikes[step - 1] if step else np.zeros_like(spikes[0])
            arriving = arriving + RealCell(other, x.shape[1], 1.0, "v_reset").step(before)
        distance[step] = cell.distance(arriving)
    return spikes, distance


def _part_at_thresholds(
    population: Population, node: Node, got: Array, want: Array, distance: Array, small: Shape
) -> None:
    differs = got != want
    if not differs.any():
        return
    steps = np.arange(len(got)).reshape(-1, *[1] * (got.ndim - 1))
    first = np.where(differs, steps, len(got)).min(0)
    level = np.abs(_cut(node.values["threshold"], small)).max() or 1.0
    parted = first < len(got)
    apart = np.take_along_axis(np.abs(distance), np.minimum(first, len(got) - 1)[None], 0)[0]
    if node.name in population.name and population.cell.own is not None:
        worst = float(apart[parted & (first == first.min())].max(initial=0))
    else:
        worst = float(apart[parted].max(initial=0))
    # the first sample begins at the threshold, where rounding may decide
    if worst > TIES * level or parted[1:].mean() > 0.25:
        raise CaptureError(
            f"neuron {population.name!r} ({type(population.module).__name__}) does not compute "
            "what its parameters say (tried on random currents): it was changed, or is of a "
            "version of its library that neuroport does not know"
        )


def _alone(population: Population, x: npt.NDArray[Any]) -> Array:
    """Return the spikes of the library's own neuron on currents (T, N, *shape)."""
    module: Any = population.module
    cell = population.cell
    kept = dict(module._buffers), dict(vars(module).get("_memories", {}))
    training = module.training
    mode = getattr(module, "step_mode", None)
    given = torch.from_numpy(x)
    try:
        with torch.no_grad():
            module.eval()
            begin(module)
            if mode is not None:  # forward may have set another
                module.step_mode = "m" if cell.whole else "s"
            if cell.whole:
                out: Tensor = type(module).forward(module, given)
                at_once: Array = out.double().numpy()
                return at_once
            sent: list[Array] = []
            states: dict[str, Tensor] = {}
            for step in given:
                if cell.library == JELLY or cell.hidden:
                    found = type(module).forward(module, step)
                    found = found[0] if isinstance(found, tuple) else found
                else:
                    states = states or {name: torch.zeros_like(step) for name in cell.states}
                    out_all = type(module).forward(module, step, **states)
                    found, rest = out_all[0], out_all[1:]
                    names = [name for name in cell.states if name != "spk"]
                    states = dict(zip(names, rest, strict=True))
                    if "spk" in cell.states:
                        states["spk"] = found
                if cell.factor is not None:
                    found = found / torch.from_numpy(np.asarray(cell.factor)).to(found.dtype)
                sent.append(found.double().numpy().round(6))
            stacked: Array = np.stack(sent)
            return stacked
    except CaptureError:
        raise
    except Exception as error:  # run the library's own code on a copy of the neuron
        raise CaptureError(
            f"neuron {population.name!r} fails on currents of its shape "
            f"({type(error).__name__}: {error})"
        ) from error
    finally:
        module._buffers.clear()
        module._buffers.update(kept[0])
        if "_memories" in vars(module):
            module._memories.clear()
            module._memories.update(kept[1])
        module.training = training
        if mode is not None:
            module.step_mode = mode
