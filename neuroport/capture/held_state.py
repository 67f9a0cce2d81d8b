"""What blocks compute with, to see whether ``forward`` changes it while it is followed.

A graph holds one set of numbers for every block, those after ``forward``. They must be the ones of
every call, and of the next ``forward``.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Iterable, Mapping
from functools import cache
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from neuroport.capture.source_lines import here
from neuroport.errors import CaptureError
from neuroport.nets.torch_parts import computed_name

PLAIN = (int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
GROUPS = ("_parameters", "_buffers", "_modules")  # of an attribute of their own each


class HeldState:
    """The numbers, parts, hooks and attributes of blocks, at one moment.

    Tensors are known by a checksum of their bytes: a write through ``.data`` or NumPy leaves no
    version behind, and copies of all weights would double them.
    """

    def __init__(self, blocks: Mapping[str, nn.Module]) -> None:
        self._names: dict[nn.Module, str] = {}
        for name, block in blocks.items():
            for path, part in block.named_modules(prefix=name):
                self._names[part] = path  # the innermost block's
        self._blocks = set(blocks.values())
        self._held = {part: self._state(part) for part in self._names}

    def compare(self, modules: Iterable[nn.Module] | None = None) -> None:
        """Refuse a change of ``modules`` and their parts, or of any block.

        Raises:
            CaptureError: names what has changed, and the line.
        """
        parts = self._held if modules is None else (p for each in modules for p in each.modules())
        for part in parts:
            before, now = self._held[part], self._state(part)
            if before == now:
                continue
            changed = next(key for key in {**before, **now} if before.get(key) != now.get(key))
            when = "and leaves it so" if modules is None else f"before {here().quoted}"
            raise CaptureError(
                f"forward changes the weights of the network, '{self._names[part]}.{changed}', "
                f"{when}; a graph holds one value for all calls: change it outside of forward, or "
                "use a layer for each value"
            )

    def _state(self, part: nn.Module) -> dict[str, Any]:
        # What hooks compute at a call may be older than what they compute it of, and is not
        # computed here: SLAYER uses that of recurrent synapses, which it does not call, as it is.
        passed = {computed_name(hook) for hook in part._forward_pre_hooks.values()} | {"training"}
        if part in self._blocks:
            passed.add("forward")  # reading's own
        found: dict[str, Any] = {}
        for name, value in vars(part).items():
            if name in GROUPS:
                found |= {key: _known(each) for key, each in value.items()}
            elif name not in passed and name in _named_by(type(part)):  # type: ignore[arg-type]
                found[name] = _known(value)
        return found


@cache
def _named_by(kind: type) -> frozenset[str]:
    """Names in the code of a class: no other attribute can change what it computes.

    What forward notes on a layer, such as its rate, is none of these.
    """
    todo: list[CodeType] = []
    for each in kind.__mro__:
        for value in vars(each).values():
            value = inspect.unwrap(
                getattr(value, "fget", None) or getattr(value, "__func__", value)
            )
            if isinstance(code := getattr(value, "__code__", None), CodeType):
                todo.append(code)
    found: set[str] = set()
    while todo:
        code = todo.pop()
        found.update(code.co_names, (each for each in code.co_consts if isinstance(each, str)))
        todo += [each for each in code.co_consts if isinstance(each, CodeType)]
    return frozenset(found)


def _known(value: Any) -> Any:
    """A value in a form that stays as it is when the value is changed in place."""
    if isinstance(value, Tensor):
        return _checksum(value)
    if isinstance(value, PLAIN):
        return type(value), value if value == value else "nan"
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value), [_known(each) for each in value]
    if isinstance(value, dict):
        return type(value), [(key, _known(each)) for key, each in value.items()]
    return _Same(value)


def _checksum(tensor: Tensor) -> Any:
    if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided:
        return _Same(tensor)
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return tensor.dtype, tensor.shape, zlib.crc32(flat.view(torch.uint8).numpy())


class _Same:
    """An object that is equal to itself alone, and kept so that no other has its address."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._held is other._held

    __hash__ = None  # type: ignore[assignment]
