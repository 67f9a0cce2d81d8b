"""The states that neurons of snnTorch and SpikingJelly, and other modules, keep and pass on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
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


# -- all that a network keeps ------------------------------------------------------------------


@contextmanager
def restored(net: nn.Module) -> Iterator[None]:
    """Context after which modules hold what they held, whatever forward assigned or wrote there.

    That covers attributes, the items of lists and dictionaries among them, and the numbers of
    tensors: of parameters, of buffers and of plain attributes.
    """
    attributes = [(vars(module), dict(vars(module))) for module in net.modules()]
    held = [value for _, values in attributes for value in values.values()]
    collections = [(each, list(_items(each))) for each in held if isinstance(each, _COLLECTIONS)]
    held += [value for each in held if isinstance(each, _COLLECTIONS) for value in _values(each)]
    tensors = {id(each): each for each in held if _has_numbers(each)}
    numbers = [(each, each.data, each.detach().clone()) for each in tensors.values()]
    try:
        yield
    finally:
        for values, kept in attributes:
            values.clear()
            values.update(kept)
        for collection, items in collections:
            collection.clear()
            fill = collection.update if isinstance(collection, (dict, set)) else collection.extend
            fill(items)
        with torch.no_grad():
            for tensor, memory, kept_numbers in numbers:
                if tensor.data_ptr() != memory.data_ptr() or tensor.shape != memory.shape:
                    tensor.data = memory
                # a copy would count as a change where a gradient waits for the tensor
                if not torch.equal(tensor, kept_numbers):
                    tensor.copy_(kept_numbers)


def _has_numbers(value: Any) -> bool:
    plain = type(value) in (Tensor, nn.Parameter)
    return plain and value.layout == torch.strided and not value.is_meta


_COLLECTIONS = (dict, list, set, deque)  # what an attribute may be, and forward may add to


def _items(collection: Any) -> Any:
    return collection.items() if isinstance(collection, dict) else collection


def _values(collection: Any) -> Any:
    return collection.values() if isinstance(collection, dict) else collection
