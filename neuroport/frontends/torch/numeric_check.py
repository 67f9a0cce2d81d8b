"""Check a captured network numerically against the library's own module.

Forward runs again on plain tensors with random spikes and states as the output of every neuron, so
that the check does not depend on which neurons fire. Each neuron must then receive the same current
as in the captured network, and the states that it gave back, and forward must return what the
captured network sends. In addition, each kind of neuron runs alone on random currents and is
compared with its captured form. Library and interpreter share only these numbers.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from neuroport.capture.forward import evaluating
from neuroport.capture.source_lines import enter
from neuroport.errors import CaptureError
from neuroport.frontends.nir.interpreter import RealCell, interpret
from neuroport.frontends.nir.reading import Array, Network, Node, Shape
from neuroport.frontends.torch.drawn_neurons import Drawn
from neuroport.frontends.torch.forward_pass import (
    Followed,
    Population,
    begin,
    neurons_replaced,
)
from neuroport.frontends.torch.network_builder import FRAMES, Building
from neuroport.frontends.torch.neurons import JELLY
from neuroport.frontends.torch.returned_check import close, compare_returned
from neuroport.frontends.torch.traced_tensor import (
    BATCH_FIRST,
    STATIC,
    STEP,
)

SAMPLES = (1, 3)  # other numbers than while forward is followed: it may not depend on them
MANY = 17  # if it asks for their number
TIES = 1e-4  # relative to a threshold: within this distance rounding decides
STEPS = 24  # steps of a neuron that runs alone


def check(found: Followed, frames: npt.NDArray[Any]) -> None:
    """Compare the captured network with the module, on frames like the given ones.

    Args:
        frames: real numbers (T, N, *shape), on which forward runs, too.

    Raises:
        CaptureError: names the neuron that differs.
    """
    for population in found.populations:
        _check_neuron(found, population)
    rng = np.random.default_rng(len(found.populations))
    for samples in (*SAMPLES, *([MANY] if found.counts_samples else [])):
        drawn = frames[:, rng.integers(0, frames.shape[1], samples)]
        noise = rng.permutation(drawn.reshape(-1)).reshape(drawn.shape)
        if found.way == STATIC:
            noise = np.repeat(noise[:1], len(noise), 0)
        _check_forward(found, noise.astype(np.float32), rng)
    _check_forward(found, frames.astype(np.float32), rng)


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
    drawn = Drawn(found, int(rng.integers(1 << 31)))
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
    compare_returned(found, out if found.way == STEP else [out], values, drawn)


def _compare(found: Followed, frames: npt.NDArray[Any], drawn: Drawn) -> dict[str, list[Array]]:
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
            if not close(got, want):
                raise CaptureError(
                    f"neuron {population.name!r} receives something else than {population.input!r} "
                    f"at step {step} (tried with spikes drawn at random); forward changes it on "
                    "the way, or does other things with other values"
                )
        late = {name: now[name] for name in sources}
        for name, value in now.items():
            values.setdefault(name, []).append(value)
    return values


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
    x = level * rng.normal(0.4, 0.9, (STEPS, max(SAMPLES), *small)).astype(np.float32)
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
    level = np.abs(_cut(node.values["threshold"], small))
    level = np.broadcast_to(np.where(level > 0, level, 1.0), first.shape)
    parted = first < len(got)
    apart = np.take_along_axis(np.abs(distance), np.minimum(first, len(got) - 1)[None], 0)[0]
    apart = apart / level
    if node.name in population.name and population.cell.own is not None:
        worst = float(apart[parted & (first == first.min())].max(initial=0))
    else:
        worst = float(apart[parted].max(initial=0))
    # the first sample begins at the threshold, where rounding may decide
    if worst > TIES or parted[1:].mean() > 0.25:
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
