"""Map signals to nodes of the network and back; used by the rules of all functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuroport.capture.source_lines import here
from neuroport.errors import CaptureError
from neuroport.frontends.nir.reading import Array
from neuroport.frontends.torch.network_builder import Building
from neuroport.frontends.torch.traced_tensor import (
    BATCH_FIRST,
    FLAT,
    ONE,
    SAMPLES,
    STATIC,
    STEP,
    WHOLE,
    Lost,
    Origin,
    Traced,
)


class SignalNodes:
    """Creates tensors for nodes, and finds the nodes of tensors.

    Args:
        building: the network to which nodes are added.
        steps: T of the frames.
        named: function that returns the innermost running module, for names.
        static: whether the frames are equal at all steps.
    """

    def __init__(
        self, building: Building, steps: int, named: Callable[[], str], static: bool = False
    ) -> None:
        self.building, self.steps, self.named, self.static = building, steps, named, static
        self._arrays: dict[int, tuple[Tensor, int, Array]] = {}

    # -- tensors -------------------------------------------------------------------------------

    def tensor(self, origin: Origin, dtype: torch.dtype = torch.float32) -> Traced:
        """Return a tensor for the values of a node."""
        lead = {
            WHOLE: (self.steps, SAMPLES),
            BATCH_FIRST: (SAMPLES, self.steps),
            FLAT: (self.steps * SAMPLES,),
            STEP: (SAMPLES,),
            STATIC: (SAMPLES,),
            ONE: (1, SAMPLES),
        }[origin.lies]
        made = Traced((*lead, *self.building.shape(origin.node)), dtype)
        of = f"{origin.node}\0{origin.state}" if origin.state else origin.node
        made.note(origin, "", frozenset((of,)))
        return made

    def array(self, value: Any) -> Array:
        """Return the numbers of a tensor that is not a signal; those of parameters are cached."""
        if not isinstance(value, Tensor):
            return np.asarray(value, np.float64)
        found = self._arrays.get(id(value))
        if found is None or found[0] is not value or found[1] != value._version:
            numbers = value.detach().cpu().double().numpy()
            found = value, value._version, numbers
            self._arrays[id(value)] = found
        return found[2]

    def like(self, origin: Origin, node: str, dtype: torch.dtype = torch.float32) -> Traced:
        return self.tensor(replace(origin, node=node), dtype)

    def known(self, value: Any) -> Origin:
        """Return the origin of a signal of messages or currents."""
        if not isinstance(value, Traced):
            raise Lost("")
        if value.origin is None:
            raise Lost("")
        if not value.origin.plain:
            raise Lost("it is a state, or a sum over steps")
        return value.origin

    def sent(self, value: Any) -> Origin:
        """Return the origin of messages or currents, not averaged: of a rate, what is no sum of
        its steps cannot be computed step by step."""
        origin = self.known(value)
        if origin.mean:
            raise Lost("it is an average over steps")
        return origin

    def unchanged(self, given: Traced) -> Traced:
        made = Traced(given.shape)
        made.note(given.origin, given.made_by, given.of)
        return made

    def named_as(self, base: str) -> str:
        """Return the name for an operation's node: that of its module, or with the operation's."""
        module = self.named()
        if base in ("conv2d", "conv1d", "linear", "batch_norm") and module:
            return module
        return f"{module}.{base}" if module else base

    # -- two signals -------------------------------------------------------------------------

    def aligned(self, left: Any, right: Any) -> tuple[Origin, Origin]:
        """Align two signals; of two consecutive steps, the earlier one becomes a late value."""
        one, other = self.known(left), self.known(right)
        apart = 0 if one.step is None or other.step is None else other.step - one.step
        if abs(apart) == 1 and one.lies == other.lies == STEP:
            now = max(step_number(one), step_number(other))
            early = one if apart > 0 else other
            moved = replace(early, node=self.late(early.node), step=now)
            return (moved, other) if apart > 0 else (one, moved)
        return one, other

    def late(self, name: str) -> str:
        """Return the node of another node's previous step."""
        building = self.building
        node = building.nodes[name]
        if node.kind == "Input" and self.static:
            return name
        if node.late or node.kind == "Potential":
            raise Lost("it is two steps late, or a potential; a loop takes one step")
        if node.kind in ("Input", "Neuron", "Threshold"):
            return building.late(name)
        inputs = tuple(self.late(source) for source in node.inputs)
        return building.node(f"{name}.late", node.kind, inputs, node.shape, node.values, node.sizes)

    def together(self, one: Origin, other: Origin) -> Origin:
        """Return the layout of the sum or product of two signals."""
        if one.mean != other.mean:
            raise Lost("it takes an average over steps with what is none")
        if one.lies == other.lies and one.step == other.step:
            return one
        for still, moving in ((one, other), (other, one)):
            if still.lies == ONE and moving.lies == WHOLE:
                return moving
            if still.lies == STATIC and moving.lies in (STEP, WHOLE):
                return moving
        raise Lost(
            f"it takes step {one.step} with step {other.step}: an edge takes no time"
            if one.lies == other.lies
            else "it takes all steps with one"
        )

    def over(self, origin: Origin, constant: Any, given: Traced) -> Array:
        """Broadcast a constant over a node; it must be the same for steps and samples."""
        numbers = self.array(constant)
        shape = self.building.shape(origin.node)
        rank = len(shape)
        if numbers.ndim > rank:
            lead = numbers.reshape(-1, *numbers.shape[numbers.ndim - rank :])
            if not (lead == lead[:1]).all():
                raise Lost("its constants differ between steps or samples")
            numbers = lead[0]
        try:
            return np.broadcast_to(numbers, shape)
        except ValueError:
            raise Lost(f"a constant of {numbers.shape} is spread over {shape}") from None

    # -- steps -------------------------------------------------------------------------------

    def step_of(self, origin: Origin, step: int) -> Traced:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of {self.steps}")
        return self.tensor(replace(origin, lies=STEP, step=step))

    def over_steps(self, origin: Origin, count: int) -> Traced:
        if count != self.steps:
            raise CaptureError(
                f"forward repeats its input for {count} steps ({here().quoted}), and the frames "
                f"have {self.steps}; give frames (T, N, *shape) with T = {count}"
            )
        return self.tensor(replace(origin, lies=WHOLE))


def step_number(origin: Origin) -> int:
    return -1 if origin.step is None else origin.step
