"""A population whose own kind computes its steps, on Lava's clock, and checks declared widths."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.backends.reference import own
from neuroport.graph.declared_widths import Window, refuse
from neuroport.graph.kinds.base import Population, Shape, States, per_neuron


class Stepped:
    """A population of one sample at a time in Lava's steps, which are counted from 1.

    Args:
        arriving: shape of its current, which is given flat.
        limit: its declared current; None where its widths are proven.
    """

    def __init__(
        self, node: Population, arriving: Shape, window: Window, limit: int | None = None
    ) -> None:
        self.node, self.arriving, self.window, self.limit = node, arriving, window, limit
        self.constants = node.setup(arriving, per_neuron, own)
        shape = node.shape_of(arriving)
        self.rest: States = (np.zeros((1, *shape), np.int64),) * len(node.states)
        self.states = self.rest

    def step(self, current: npt.NDArray[Any], time_step: int) -> Any:
        """What it sends, (1, *shape).

        Raises:
            RangeError: it left its widths.
        """
        given = current.astype(np.int64).reshape(1, *self.arriving)
        if self.window.begins(time_step):
            self.states = self.rest
        if self.limit is not None and self.window.holds(time_step):
            refuse(
                self.node.name,
                self.node.leaves(self.constants, self.states, given, self.limit),
                time_step,
            )
        self.states, sent = self.node.step(self.constants, self.states, given)
        return sent
