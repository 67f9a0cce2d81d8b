"""Neurons that send spikes and states drawn at random, for the numeric check of a forward."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.errors import CaptureError
from neuroport.frontends.nir.reading import Array
from neuroport.frontends.torch.forward_pass import INPUTS, Followed, Population
from neuroport.frontends.torch.neuron_states import keep_states, kept_states
from neuroport.frontends.torch.neurons import JELLY


class Drawn:
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
        given = args[0] if args else next(kwargs[name] for name in INPUTS if name in kwargs)
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
