"""The states that neurons of snnTorch and SpikingJelly keep, and pass on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from neuroport.frontends.torch.traced_tensor import Traced

# names of the states that snnTorch's and SpikingJelly's neurons keep -> those of Origin.state
STATES = {"mem": "mem", "syn": "syn", "spk": "spk", "v": "mem", "c": "syn"}


def _places(module: Any) -> tuple[dict[str, Any], list[str]]:
    """Where a neuron keeps its states, and their names there."""
    memories = vars(module).get("_memories")
    if memories is not None:
        return memories, [name for name in ("v", "c") if name in memories]
    buffers = module._buffers
    return buffers, [n for n in ("mem", "syn", "spk") if isinstance(buffers.get(n), Tensor)]


def keep_states(module: nn.Module, state: Callable[[str], Any]) -> None:
    """Put ``state(name)`` where a neuron keeps the state of this name."""
    places, names = _places(module)
    for name in names:
        places[name] = state(STATES[name])


def kept_states(module: nn.Module) -> dict[str, Any]:
    """The states that a neuron keeps, by name."""
    places, names = _places(module)
    return {STATES[name]: places[name] for name in names}


def is_fresh(module: Any) -> bool:
    """Whether the states that a neuron keeps are those after a reset."""
    places, names = _places(module)
    begun = vars(module).get("_memories_rv", {})
    return not any(isinstance(places[name], Traced) for name in names) and all(
        bool(np.all(_number(places[name]) == _number(begun.get(name, 0.0)))) for name in names
    )


def _number(value: Any) -> Any:
    return numbers_of(value) if isinstance(value, Tensor) else value


def is_zero(value: Any) -> bool:
    """Whether this is a state of 0; a signal is none."""
    if isinstance(value, Traced):
        return False
    if isinstance(value, Tensor):
        return not bool(value.any())
    return isinstance(value, (int, float)) and value == 0


def numbers_of(value: Tensor) -> Any:
    """The numbers of a tensor, in float64."""
    return value.detach().cpu().double().numpy()
