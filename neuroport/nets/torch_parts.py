"""The torch modules in a layer, a synapse and a norm, whose weights others may compute.

A layer computes with the *weights* of its synapse, also in integers. This equals a call of the
module if the call is torch's own. Weights that are computed before a call (``prune``,
``weight_norm`` and ``spectral_norm`` of ``torch.nn.utils``, as hooks or as parametrizations) are
computed here, too. If a module has other hooks, or a subclass computes something else, the real
phase calls the module; integers and graphs cannot express it and refuse it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

Module = TypeVar("Module", bound=nn.Module)
UNIT = torch.float64  # the type of a grid's units
GRID = ("lsb", "source_lsb")  # units of a layer's grid
METHODS = ("__call__", "forward", "_conv_forward")  # what a call computes


class OnGrid(nn.Module):
    """A layer whose grid units stay in float64 when the network is cast."""

    lsb: Tensor

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        held = ((n, b) for n, b in self._buffers.items() if b is not None and n in GRID)
        exact = {n: b for n, b in held if b.dtype == UNIT}
        super()._apply(fn, recurse)
        for name, before in exact.items():
            after = self._buffers[name]
            if after is not None and after.dtype != UNIT:
                self._buffers[name] = before.to(after.device)
        return self


def makes_weights(hook: Any) -> bool:
    """Whether a pre-forward hook only computes the module's weights."""
    return isinstance(hook, (BasePruningMethod, WeightNorm, SpectralNorm))


def computed_name(hook: object) -> str | None:
    """The name of the weight that a hook computes, or None if it computes none."""
    if not makes_weights(hook):
        return None
    found: str = hook._tensor_name if isinstance(hook, BasePruningMethod) else hook.name  # type: ignore[attr-defined]
    return found


def refreshed(module: Module) -> Module:
    """Return ``module`` with its weights computed again, as a call would do."""
    for hook in module._forward_pre_hooks.values():
        if makes_weights(hook):
            hook(module, ())
    return module


def hooked(module: nn.Module, *, backward: bool) -> bool:
    """Whether a module has hooks other than those that compute weights."""
    before = module._forward_pre_hooks
    if module._forward_hooks or (before and not all(map(makes_weights, before.values()))):
        return True
    return backward and bool(module._backward_hooks or module._backward_pre_hooks)


def torch_own(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether calling ``module`` computes what torch's ``kind`` of these weights does."""
    return (
        _same_methods(type(module), kind)  # type: ignore[arg-type]
        and vars(module).keys().isdisjoint(METHODS)
        and getattr(module, "padding_mode", "zeros") == "zeros"
    )


@cache
def _same_methods(own: type[nn.Module], kind: type[nn.Module]) -> bool:
    same = (getattr(own, name, None) is getattr(kind, name, None) for name in METHODS)
    return issubclass(own, kind) and all(same)


def as_called(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether the weights alone determine the effect of calling ``module``."""
    return torch_own(module, kind) and not hooked(module, backward=torch.is_grad_enabled())


def unlike(module: nn.Module, kind: type[nn.Module]) -> str | None:
    """Return why integers cannot express a synapse of torch's ``kind``, or None if they can."""
    name = f"nn.{kind.__name__}"
    if not isinstance(module, kind):
        return f"its synapse is a {type(module).__name__}, which no graph holds; use {name}"
    if getattr(module, "padding_mode", "zeros") != "zeros":
        mode = module.padding_mode
        return f"its synapse pads with {mode!r}, a chip with zeros; use padding_mode='zeros'"
    if not torch_own(module, kind):
        return (
            f"its synapse ({type(module).__name__}) has a forward of its own, which no graph "
            f"holds; use {name}, and torch.nn.utils.parametrize for weights that are computed"
        )
    if hooked(module, backward=False):
        return (
            "its synapse has forward hooks, which may change what it computes and are no part of "
            "the graph; remove them first (handle.remove())"
        )
    return None
