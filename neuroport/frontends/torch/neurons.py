"""Neurons of snnTorch and SpikingJelly, recognized by the names of their classes.

Each is converted to the form of the integer neurons: ``u = (1 - current_leak) u + gain x``, ``v =
(1 - voltage_leak) v + u + bias``, a spike where ``v > threshold`` (or ``>=`` if ``inclusive``),
then ``v = 0`` or ``v = v - subtract``. ``v`` is counted from the reset value. Where the library
subtracts after the next leak, ``subtract_late`` is what it subtracts there. Neurons that this form
cannot express are refused here. :mod:`.numeric_check` compares the form with the library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.errors import CaptureError
from neuroport.frontends.nir.reading import Array

SNNTORCH, JELLY = "snntorch", "spikingjelly"
_PLAIN = {"__init__", "extra_repr", "__repr__", "__doc__", "__module__", "__qualname__"}
_PLAIN |= {"__annotations__", "__firstlineno__", "__static_attributes__", "__parameters__"}


@dataclass(frozen=True, eq=False)
class Cell:
    """The description of a neuron module.

    Attributes:
        library: ``snntorch`` or ``spikingjelly``.
        values: constants of the form; numbers or arrays over the neurons.
        fires: whether a spike changes the voltage; if not, the voltage may be an output.
        states: names of the states that it takes and returns.
        hidden: whether it keeps its states itself.
        returns: whether it returns its states.
        whole: whether it processes all steps at once.
        own: the module of its recurrent weights, or None.
        factor: factor of its spikes.
    """

    library: str
    values: dict[str, Array]
    fires: bool = True
    states: tuple[str, ...] = ()
    hidden: bool = True
    returns: bool = False
    whole: bool = False
    own: nn.Module | None = None
    factor: Array | None = None


def library_class(module: nn.Module) -> type | None:
    """Return the library class of a module, or from which it is derived."""
    for kind in type(module).__mro__:
        if kind.__module__.split(".")[0] in (SNNTORCH, JELLY):
            return kind
    return None


def is_neuron(module: nn.Module) -> bool:
    """Whether a module is any neuron of a library."""
    names = {(kind.__module__.split(".")[0], kind.__name__) for kind in type(module).__mro__}
    return bool(names & {(SNNTORCH, "SpikingNeuron"), (JELLY, "BaseNode")}) or any(
        kind.__module__.startswith("spikingjelly.activation_based.neuron")
        or kind.__module__.startswith("snntorch._neurons")
        for kind in type(module).__mro__
        if kind.__name__ not in ("RecurrentOneToOne",)
    )


def cell_of(name: str, module: nn.Module) -> Cell:
    """Return the form of a neuron.

    Raises:
        CaptureError: the form cannot express the neuron; the error names an alternative.
    """
    kind = library_class(module)
    assert kind is not None
    if type(module) is not kind:
        own = [
            item
            for between in type(module).__mro__[: type(module).__mro__.index(kind)]
            for item in vars(between)
            if item not in _PLAIN
        ]
        if own:
            raise CaptureError(
                f"neuron {name!r} ({type(module).__name__}) changes "
                f"{', '.join(map(repr, own[:3]))} of {kind.__name__}, which no integer neuron "
                f"has; use {kind.__name__} as it is"
            )
    made = _CELLS.get((kind.__module__.split(".")[0], kind.__name__))
    if made is None:
        known = ", ".join(k for lib, k in _CELLS if lib == kind.__module__.split(".")[0])
        raise CaptureError(
            f"neuron {name!r} is a {kind.__name__}, which has no integer neuron; use one of {known}"
        )
    found = made(name, module)
    for key, array in found.values.items():
        if not np.isfinite(array).all():
            raise CaptureError(f"neuron {name!r}: {key} is NaN or infinite; train again")
    return found


ONE = np.ones((), np.float64)


def _number(value: Any) -> Array:
    if isinstance(value, Tensor):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value, np.float64)


def _clipped(value: Any) -> Array:
    """Clamp decays as snnTorch does."""
    found: Array = np.clip(_number(value), 0.0, 1.0)
    return found


def _at_threshold(name: str, module: nn.Module, fires: Any) -> Array:
    """1 if a neuron fires at its threshold, too, as its surrogate function says; otherwise 0.

    Raises:
        CaptureError: the function does not fire above 0, and only there.
    """
    away = 2.0 ** torch.arange(-24, 25)
    with torch.no_grad():
        below, at, above = (fires(x) for x in (-away, torch.zeros(1), away))
    if (below != 0).any() or (above != 1).any() or float(at) not in (0.0, 1.0):
        raise CaptureError(
            f"neuron {name!r} ({type(module).__name__}): its surrogate function does not give 1 "
            "for all numbers above 0 and 0 for all below, when it is called; use one of its library"
        )
    return _number(at.reshape(()))


# -- snnTorch ----------------------------------------------------------------------------------


def _snn(name: str, module: Any, keep: Array, late_zero: str, states: tuple[str, ...]) -> Cell:
    """Return the common part of snnTorch's neurons.

    ``late_zero``: the effect of a delayed reset to zero on the step after a spike, if it differs
    from that of an immediate reset.
    """

    def refuse(why: str) -> CaptureError:
        return CaptureError(f"neuron {name!r} ({type(module).__name__}): {why}")

    if module.inhibition:
        raise refuse(
            "inhibition lets one neuron of a layer fire, which no population does; leave it out"
        )
    if module.state_quant:
        raise refuse(
            "state_quant rounds the states as snnTorch does; leave it out: neuroport's own "
            "integers are what runs on the chip"
        )
    reset = list(type(module).reset_dict)[int(module.reset_mechanism_val)]
    built = getattr(module.state_function, "__name__", "")
    wanted = {"subtract": "_base_sub", "zero": "_base_zero", "none": "_base_int"}[reset]
    if built != wanted:
        raise refuse(
            f"reset_mechanism is {reset!r}, and its forward still computes that of {built!r}; make "
            "the neuron anew with that reset"
        )
    threshold = _number(module.threshold)
    if not (np.isfinite(threshold).all() and np.isfinite(keep).all()):
        raise refuse("its threshold or decay is NaN or infinite; train again")
    if (threshold < 0).any():
        raise refuse("its threshold is below 0, where it fires without input; train it above")
    delay = getattr(module, "reset_delay", True)
    values = {
        "gain": ONE,
        "current_leak": ONE,
        "voltage_leak": 1 - keep,
        "bias": np.zeros(()),
        "threshold": threshold,
        "inclusive": _at_threshold(name, module, module.spike_grad),
    }
    if reset == "subtract":
        if not delay:
            raise refuse(
                "with reset_delay=False a voltage that stays above the threshold is not subtracted "
                "from again; use reset_delay=True, the default, or reset_mechanism='zero'"
            )
        if not (keep > 0).all():
            raise refuse("beta is 0, so that nothing is left to subtract from; use a beta above 0")
        values["subtract"] = threshold / keep  # a step later, after the leak
        values["subtract_late"] = threshold
    elif reset == "zero" and delay and late_zero:
        raise refuse(late_zero)
    elif reset == "none":
        values["subtract"] = np.zeros(())
    factor = _number(module.graded_spikes_factor)
    if not factor.all():
        raise refuse("graded_spikes_factor is 0: nothing is sent")
    hidden = bool(module.init_hidden)
    return Cell(
        SNNTORCH,
        values,
        fires=reset != "none",
        states=states,
        hidden=hidden,
        returns=bool(module.output) or not hidden,
        factor=None if (factor == 1).all() else factor,
    )


def _leaky(name: str, module: Any) -> Cell:
    return _snn(name, module, _clipped(module.beta), "", ("mem",))


_DEAD = (
    "reset_mechanism='zero' with reset_delay=True also loses the input of the step after a spike, "
    "which no integer neuron does; {}"
)


def _synaptic(name: str, module: Any) -> Cell:
    found = _snn(
        name,
        module,
        _clipped(module.beta),
        _DEAD.format("use reset_delay=False"),
        ("syn", "mem"),
    )
    found.values["current_leak"] = 1 - _clipped(module.alpha)
    return found


def _lapicque(name: str, module: Any) -> Cell:
    step, r, c = (_number(value) for value in (module.time_step, module.R, module.C))
    keep = 1 - step / (r * c)
    if ((keep < 0) | (keep > 1)).any():
        raise CaptureError(
            f"neuron {name!r} (Lapicque): a step of {float(step.max()):g} is longer than R C; give "
            "a shorter time_step, or a beta above 0.37"
        )
    dead = _DEAD.format("use snn.Leaky(beta), which resets at once").replace(
        " with reset_delay=True", " of Lapicque"
    )
    kept = np.asarray(keep, np.float64)
    found = _snn(name, module, kept, dead, ("mem",))
    found.values["gain"] = step / c
    return found


def _rleaky(name: str, module: Any) -> Cell:
    found = _snn(
        name,
        module,
        _clipped(module.beta),
        _DEAD.format("use reset_delay=False"),
        ("spk", "mem"),
    )
    return Cell(**{**vars(found), "own": module.recurrent})


# -- SpikingJelly ------------------------------------------------------------------------------


def _jelly(
    name: str, module: Any, gain: Array, keep: Array, keep_current: Array | float = 0.0
) -> Cell:
    def refuse(why: str) -> CaptureError:
        return CaptureError(f"neuron {name!r} ({type(module).__name__}): {why}")

    if getattr(module.surrogate_function, "spiking", True) is False:
        raise refuse(
            "its surrogate_function has spiking=False and sends real numbers; "
            "call surrogate_function.set_spiking_mode(True)"
        )
    rest = None if module.v_reset is None else _number(module.v_reset)
    threshold = _number(module.v_threshold)
    if np.isposinf(threshold).any():
        raise refuse(
            "it never fires, as its v_threshold is infinite; leave it out, and return what the "
            "layer before it sends: the graph adds that up"
        )
    values = {
        "gain": gain,
        "current_leak": np.asarray(1 - keep_current),
        "voltage_leak": 1 - keep,
        "bias": np.zeros(()),
        "threshold": threshold,
        "inclusive": _at_threshold(name, module, module.surrogate_function),
    }
    if rest is None:
        values["subtract"] = threshold
    else:
        values["threshold"] = threshold - rest
    if (values["threshold"] <= 0).any():
        raise refuse("v_threshold must lie above v_reset, else it fires without input")
    begins = module._memories_rv.get("v", 0.0)
    if not np.all(_number(begins) == (0.0 if rest is None else rest)):
        raise refuse("a sample begins at another voltage than v_reset; leave set_reset_value out")
    return Cell(JELLY, values, whole=module.step_mode == "m")


def _if(name: str, module: Any) -> Cell:
    return _jelly(name, module, ONE, ONE)


def _lif(name: str, module: Any) -> Cell:
    leak = 1 / _number(module.tau)
    kept = np.asarray(1 - leak, np.float64)
    return _jelly(name, module, leak if module.decay_input else ONE, kept)


def _plif(name: str, module: Any) -> Cell:
    leak = 1 / (1 + np.exp(-_number(module.w)))
    kept = np.asarray(1 - leak, np.float64)
    return _jelly(name, module, leak if module.decay_input else ONE, kept)


def _cuba(name: str, module: Any) -> Cell:
    keep = _number(module.v_decay)
    found = _jelly(name, module, ONE, keep, _number(module.c_decay))
    if module.v_reset is not None:  # it leaks toward 0, but is counted from v_reset
        found.values["bias"] = -(1 - keep) * _number(module.v_reset)
    return found


_CELLS: dict[tuple[str, str], Callable[[str, Any], Cell]] = {
    (SNNTORCH, "Leaky"): _leaky,
    (SNNTORCH, "Synaptic"): _synaptic,
    (SNNTORCH, "Lapicque"): _lapicque,
    (SNNTORCH, "RLeaky"): _rleaky,
    (JELLY, "IFNode"): _if,
    (JELLY, "LIFNode"): _lif,
    (JELLY, "ParametricLIFNode"): _plif,
    (JELLY, "CUBALIFNode"): _cuba,
}
