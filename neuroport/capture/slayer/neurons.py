"""SLAYER's neurons as populations of the graph.

Units: a state of SLAYER is that of the graph times ``1 / (64 * scale)``, a current, weight, bias or
threshold times ``1 / scale``; ``scale`` is 64 unless a neuron says otherwise.

SLAYER computes states as integers without a fixed width and compares them in float32, which holds
24 bits. If a state of the graph fits in 24 bits, SLAYER's is equal. Three things are refused:

* thresholds of 4096 / scale and more. SLAYER adds 0.01 units of the state so that ``>=`` means
  ``>``. At these thresholds float32 loses the addition, and a neuron fires when it reaches its
  threshold. The threshold of a neuron without leaks, whose state is a whole number, is lowered by
  one; other neurons are refused.
* ``WgtScaleBatchNorm`` that scales a current which SLAYER then truncates or decays on another grid.
* neurons that the user defined, and fields of SLAYER that no population has.

Source: ``lava/lib/dl/slayer/neuron`` of lava-dl 0.6.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import torch
from lava.lib.dl.slayer.neuron import adrf, adrf_iz, alif, cuba, norm, rf, rf_iz, sigma_delta
from lava.lib.dl.slayer.neuron.dropout import Dropout
from torch import Tensor, nn

from neuroport.errors import CaptureError
from neuroport.graph.integers import DECAY_UNITY, STATE_SHIFT, WEIGHT_MAX
from neuroport.graph.kinds.base import Population as Neuron
from neuroport.graph.node import (
    AdaptiveLif,
    AdaptiveRecurrent,
    AdaptiveResonateFire,
    Delta,
    IntArray,
    LeakyReadout,
    Lif,
    Readout,
    Recurrent,
    Relay,
    ResonateFire,
    Shape,
    Sigma,
    SigmaDelta,
    per_neuron,
)
from neuroport.nets.slayer.integers import whole

CHANGE = 1 << 12  # a change of 1.0, as sigma-delta blocks send it
ADAPTIVE = (alif.Neuron, adrf.Neuron, adrf_iz.Neuron)
KNOWN = (cuba.Neuron, rf.Neuron, rf_iz.Neuron, sigma_delta.Neuron, *ADAPTIVE)
STATES = (
    "current_state",
    "voltage_state",
    "real_state",
    "imag_state",
    "threshold_state",
    "refractory_state",
)
Make = Callable[[str, tuple[str, ...]], Neuron]


@dataclass(frozen=True, eq=False)
class NeuronMapping:
    """The graph node for a SLAYER neuron, and its consequences for inputs and outputs.

    Attributes:
        exponent: exponent of the synapses before it.
        restless: whether it is active without input, so that its start time affects the result.
        is_complex: whether it reads real and imaginary currents.
        unit: the graph's value for SLAYER's 1.0 at its output.
    """

    make: Make
    kind: str
    exponent: int = 0
    restless: bool = False
    is_complex: bool = False
    unit: int = 1


def population(
    name: str,
    neuron: Any,
    shape: Shape,
    *,
    flat: bool,
    unit: int,
    own: IntArray | None = None,
    drive: int = 0,
) -> NeuronMapping:
    """Return the population for the neurons of block ``name``.

    Args:
        shape: shape of the neurons; ``flat`` if the graph has them in a row.
        unit: unit of the received messages.
        own: recurrent weights.
        drive: constant added to every current.

    Raises:
        CaptureError: no population is equivalent.
    """
    kind = type(neuron).__module__.rsplit(".", 1)[-1]
    if not isinstance(neuron, KNOWN):
        refuse(name, f"has neurons of an unknown kind ({kind}); use cuba")
    if type(neuron).forward.__module__ == adrf_iz.__name__:
        refuse(
            name,
            "has Izhikevich resonators with an adaptive threshold, whose forward pass fails in "
            "lava-dl 0.6.0 (spike() lacks an argument); mend it (slayer.neuron.adrf_iz.Neuron."
            "forward = lambda self, x: self.spike(*self.dynamics(x))), or use block.adrf",
        )
    _common(name, neuron, recurrent=own is not None)
    if isinstance(neuron, sigma_delta.Neuron):
        if own is not None:
            refuse(
                name, "is recurrent and has sigma-delta neurons, which no population is; use cuba"
            )
        return _sigma_delta(name, neuron, shape, flat, unit)
    if unit != 1:
        refuse(name, "reads the changes that a sigma-delta block sends; feed it with spikes")
    if isinstance(neuron, cuba.Neuron):
        return _cuba(name, neuron, shape, flat, own, drive)
    if isinstance(neuron, alif.Neuron):
        return _adaptive(name, neuron, shape, flat, own, drive)
    return _resonator(name, neuron, shape)


def affine(name: str, neuron: Any, shape: Shape, dynamics: bool) -> NeuronMapping:
    """``block.Affine``: the voltage of neurons that never fire, or their current alone."""
    if not isinstance(neuron, cuba.Neuron):
        refuse(name, "is an Affine of resonators, which SLAYER cannot run; use block.cuba.Affine")
    if not dynamics:
        return NeuronMapping(
            lambda node, inputs: Relay(node, inputs), "relay", unit=_scale(name, neuron)
        )
    _common(name, neuron, recurrent=False)
    if neuron.threshold is None or neuron.threshold + neuron.threshold_eps > 0:
        refuse(
            name,
            f"has threshold {neuron.threshold}, at which SLAYER resets the voltage that it "
            "sends; set it back to -1 (neuron._threshold = -1)",
        )
    current, voltage = (_decay(name, neuron, item, shape) for item in ("current", "voltage"))
    rests = (np.all(current == DECAY_UNITY) and not voltage.any()) or (
        not current.any() and np.all(voltage == DECAY_UNITY)
    )
    bias, scale = _norm(name, neuron, neuron.norm)
    if scale or (rests and bias.any() and not current.any()):
        refuse(name, "normalizes a voltage; use no norm before a readout")

    def make(node: str, inputs: tuple[str, ...]) -> Neuron:
        if rests:
            return Readout(node, inputs, bias)
        return LeakyReadout(node, inputs, current, voltage, bias)

    return NeuronMapping(
        make,
        "readout" if rests else "leakyreadout",
        restless=bool(bias.any()),
        unit=_scale(name, neuron) << STATE_SHIFT,
    )


def first_delta(name: str, neuron: Any, fine: bool) -> NeuronMapping:
    """The encoder of ``block.sigma_delta.Input``; frames count 1/64, or 1/4096 where ``fine``."""
    _common(name, neuron, recurrent=False)
    spike_exponent = 0 if fine else STATE_SHIFT
    # changes are whole numbers of these units: they reach the next of them when the threshold
    threshold = math.ceil(_change_threshold(name, neuron) * (CHANGE >> spike_exponent))
    return NeuronMapping(
        lambda node, inputs: Delta(node, inputs, threshold, spike_exponent), "delta", unit=CHANGE
    )


def sigma(name: str, neuron: Any, unit: int) -> NeuronMapping:
    """The sums of ``block.sigma_delta.Output``."""
    _common(name, neuron, recurrent=False, shape=neuron.sigma.shape)
    scale = _scale(name, neuron)
    return NeuronMapping(lambda node, inputs: Sigma(node, inputs), "sigma", unit=scale * unit)


# -- kinds ---------------------------------------------------------------------------------------


def _cuba(
    name: str, neuron: Any, shape: Shape, flat: bool, own: IntArray | None, drive: int
) -> NeuronMapping:
    threshold = _threshold(name, neuron)
    if neuron.threshold_eps != 0.01 / neuron.s_scale:
        refuse(
            name,
            f"has threshold_eps {neuron.threshold_eps:g}, and neurons of the graph fire above "
            "their threshold; set it back (neuron.threshold_eps = 0.01 / neuron.s_scale), and "
            "change the threshold",
        )
    current = _decay(name, neuron, "current", shape)
    voltage = _decay(name, neuron, "voltage", shape)
    bias, shift = _norm(name, neuron, neuron.norm)
    if drive and not np.all(current == DECAY_UNITY):
        refuse(
            name,
            f"adds {drive}/{neuron.w_scale} to a current that decays, where neurons have no bias; "
            "use current_decay=1, as many winners as losers, or block.alif",
        )
    bias = _spread(bias + drive, shape, flat)
    forgets = np.all((current == DECAY_UNITY) | (current == 0))
    if shift > 0 and not _counts(current, voltage):
        _refuse_scale(name, shift, "current_decay=1 and voltage_decay=0")
    if shift < 0 and not forgets:
        _refuse_scale(name, shift, "current_decay=1")
    if shift > 0:
        threshold <<= shift  # currents divided are thresholds multiplied
    else:
        bias = bias << -shift
    if np.float32(neuron.threshold + neuron.threshold_eps) == np.float32(neuron.threshold):
        if not _counts(current, voltage):
            refuse(
                name,
                f"has threshold {neuron.threshold:g}, where SLAYER's float32 takes reaching it for "
                f"passing it; keep it below {4096 / neuron.w_scale:g}: divide weights and "
                "threshold by two, as often as needed",
            )
        threshold -= 1  # states are whole: reaching one is passing the one before
    fields = {
        "threshold": np.full(1, threshold),
        "current_decay": current,
        "voltage_decay": voltage,
        "bias": bias,
    }
    restless = bool(bias.any())
    if own is None:
        return NeuronMapping(
            lambda node, inputs: Lif(node, inputs, **fields),
            "lif",
            exponent=max(0, -shift),
            restless=restless,
        )
    _check_own(name, neuron, own, shift)
    if (bias.any() or shift) and not np.all(current == DECAY_UNITY):
        refuse(
            name,
            "is recurrent and has a norm: SLAYER, step by step, keeps the current after the norm "
            "for the next step; use current_decay=1, or no norm",
        )
    return NeuronMapping(
        lambda node, inputs: Recurrent(node, inputs, own, **fields), "recurrent", restless=restless
    )


def _check_own(name: str, neuron: Any, own: IntArray, shift: int) -> None:
    if shift < 0:
        refuse(name, "multiplies its own spikes (WgtScaleBatchNorm); use MeanOnlyBatchNorm")
    mixed = own.min() < 0 < own.max()
    if np.abs(own).max() > WEIGHT_MAX or (mixed and np.any(own & 1)):
        refuse(
            name,
            f"has recurrent weights {own.min()}..{own.max()}, and those of mixed sign are even in "
            f"[-254, 254]; clamp them to {-WEIGHT_MAX / neuron.w_scale:g}",
        )


def _adaptive(
    name: str, neuron: Any, shape: Shape, flat: bool, own: IntArray | None, drive: int
) -> NeuronMapping:
    """``block.alif``: a norm comes before the current decays, and ``>=`` is meant."""
    bias, shift = _norm(name, neuron, neuron.norm)
    if shift > 0:
        refuse(name, "divides currents (WgtScaleBatchNorm); use MeanOnlyBatchNorm, or no norm")
    bias = _spread(bias + drive, shape, flat) << -shift
    fields = _adaptation(name, neuron, shape)
    for item in ("current", "voltage"):
        fields[f"{item}_decay"] = _decay(name, neuron, item, shape)
    restless = bool(bias.any()) or fields["threshold"] == 0
    if own is None:
        return NeuronMapping(
            lambda node, inputs: AdaptiveLif(node, inputs, bias=bias, **fields),
            "alif",
            exponent=-shift,
            restless=restless,
        )
    _check_own(name, neuron, own, shift)
    return NeuronMapping(
        lambda node, inputs: AdaptiveRecurrent(node, inputs, own, bias=bias, **fields),
        "recurrentalif",
        restless=restless,
    )


def _adaptation(name: str, neuron: Any, shape: Shape) -> dict[str, Any]:
    """Return the constants of an adaptive threshold, in units of the state; SLAYER clamps none."""
    fields: dict[str, Any] = {"threshold": _threshold(name, neuron) << STATE_SHIFT}
    if not math.isfinite(neuron.threshold_step):
        refuse(
            name,
            f"has threshold_step {neuron.threshold_step}, which is not finite; set a finite value",
        )
    step = neuron.threshold_step * neuron.s_scale
    if not float(step).is_integer():
        refuse(
            name,
            f"has threshold_step {neuron.threshold_step:g}, no multiple of 1/{neuron.s_scale}; "
            f"round it (neuron.threshold_step = {round(step)} / {neuron.s_scale})",
        )
    fields["threshold_step"] = int(step)
    for item in ("threshold_decay", "refractory_decay"):
        values = _per_channel(name, getattr(neuron, item).detach(), shape)
        if values.min() < 0 or values.max() > DECAY_UNITY:
            refuse(
                name,
                f"has {item} {values.min()}..{values.max()} of 4096, and decays are 0 to 1; clamp "
                f"it (neuron.{item}.data.clamp_(0, {DECAY_UNITY})) and evaluate the network again",
            )
        fields[item] = values
    return fields


def _resonator(name: str, neuron: Any, shape: Shape) -> NeuronMapping:
    threshold = _threshold(name, neuron) << STATE_SHIFT
    izhikevich = isinstance(neuron, (rf_iz.Neuron, adrf_iz.Neuron))
    params = SimpleNamespace(
        p_scale=neuron.p_scale,
        sin_decay=neuron.sin_decay.detach().clone(),
        cos_decay=neuron.cos_decay.detach().clone(),
    )
    if neuron.requires_grad is True:  # as SLAYER asks
        type(neuron).clamp(params)
    sin = _per_channel(name, params.sin_decay, shape)
    cos = _per_channel(name, params.cos_decay, shape)
    shifts = []
    for part in (neuron.real_norm, neuron.imag_norm):
        bias, shift = _norm(name, neuron, part)
        if bias.any():
            refuse(name, "has a norm with a mean, and resonators have no bias; use no norm")
        shifts.append(shift)
    if shifts[0] != shifts[1] or shifts[0] > 0:
        refuse(name, "divides currents (WgtScaleBatchNorm); resonators keep them: use no norm")
    fields = _adaptation(name, neuron, shape) if isinstance(neuron, ADAPTIVE) else None

    def make(node: str, inputs: tuple[str, ...]) -> Neuron:
        if fields is None:
            return ResonateFire(node, inputs, threshold, sin, cos, izhikevich)
        return AdaptiveResonateFire(node, inputs, sin=sin, cos=cos, izhikevich=izhikevich, **fields)

    return NeuronMapping(
        make,
        "resonator" if fields is None else "adrf",
        exponent=-shifts[0],
        restless=izhikevich and threshold == 0,
        is_complex=True,
    )


def _sigma_delta(name: str, neuron: Any, shape: Shape, flat: bool, unit: int) -> NeuronMapping:
    learned = _change_threshold(name, neuron)
    activation = neuron.activation
    if not (activation in (torch.nn.functional.relu, torch.relu) or type(activation) is nn.ReLU):
        said = getattr(activation, "__name__", type(activation).__name__)
        refuse(name, f"has the activation {said}, and Lava's sigma-delta rectifies; use relu")
    bias, shift = _norm(name, neuron, neuron.norm)
    if neuron.bias_is_set:
        own = whole(f"block {name!r}: its bias", neuron.bias, neuron.w_scale)
        each = np.broadcast_to(own[None], (1, *shape)).reshape(shape)
        bias = per_neuron(bias, shape) + each
    if shift > 1:
        refuse(name, f"divides sums by {1 << shift} (WgtScaleBatchNorm), more than 2; use no norm")
    bias = _spread(bias, shape, flat)
    late = max(shift, 0)  # sums stay as they are, what is sent is divided
    exponent = STATE_SHIFT - late
    if not (learned * neuron.w_scale).is_integer() and not late:
        exponent, bias = 0, bias << STATE_SHIFT  # threshold and bias count 1/4096
    scaled = learned * (CHANGE >> (exponent + late)) * (1 << late)
    if not scaled.is_integer():
        refuse(
            name,
            f"has learned the threshold {learned:g}, and Lava's are multiples of 1/{CHANGE}; round "
            f"it (neuron.delta.threshold.data.mul_({CHANGE}).round_().div_({CHANGE})) and "
            "evaluate the network again",
        )
    threshold = int(scaled)
    bias = bias << max(0, -shift)
    return NeuronMapping(
        lambda node, inputs: SigmaDelta(node, inputs, threshold, bias, exponent, 6 + late),
        "sigmadelta",
        exponent=max(0, -shift) + (CHANGE // unit).bit_length() - 1,
        restless=bool((bias > 0).any()),
        unit=CHANGE,
    )


# -- parts ---------------------------------------------------------------------------------------


def refuse(name: str, why: str) -> NoReturn:
    raise CaptureError(f"block {name!r} {why}")


def _refuse_scale(name: str, shift: int, works: str) -> NoReturn:
    what = f"divides currents by {1 << shift}" if shift > 0 else f"multiplies by {1 << -shift}"
    refuse(
        name,
        f"{what} after they decayed (WgtScaleBatchNorm), where SLAYER truncates on a grid that no "
        f"neuron has; use {works}, or MeanOnlyBatchNorm",
    )


def _common(name: str, neuron: Any, *, recurrent: bool, shape: Any = None) -> None:
    _refuse_states(name, neuron, recurrent)
    if neuron.drop is not None and (
        type(neuron.drop) not in (Dropout, nn.Dropout, nn.Dropout3d)
        or "forward" in vars(neuron.drop)
    ):
        refuse(
            name, f"has the dropout {type(neuron.drop).__name__}, which is unknown; leave it out"
        )
    if getattr(neuron, "graded_spike", False) and not isinstance(neuron, sigma_delta.Neuron):
        refuse(name, "sends its voltage (graded_spike), and Lava spikes; use graded_spike=False")
    if isinstance(neuron, sigma_delta.Neuron) and neuron.delta.cum_error:
        refuse(
            name,
            "adds up errors before it sends (cum_error), which Lava does not support; use False",
        )
    if neuron.shape is None and shape is None:
        refuse(
            name,
            "was never run: its sizes, delays and decays are drawn in its first pass. Run the "
            "network once (net(x)), and then load its weights (net.load_state_dict(...)), again "
            "where they were loaded before",
        )
    norms = [neuron.norm] if not neuron.complex else [neuron.real_norm, neuron.imag_norm]
    for part in (neuron.drop, *norms):
        if isinstance(part, nn.Module) and part.training:
            refuse(
                name, "is in training mode, where its norm or dropout is random; call net.eval()"
            )


def _refuse_states(name: str, neuron: Any, recurrent: bool) -> None:
    """Refuse neurons that do not begin a call at rest, or recurrent ones that begin each step so.

    A recurrent block calls its neurons step by step, so that they must keep their state.
    """
    parts = [neuron]
    if isinstance(neuron, sigma_delta.Neuron):
        parts += [neuron.sigma, neuron.delta]
    if recurrent:
        if not all(part.persistent_state is True for part in parts):
            refuse(
                name,
                "is recurrent, and its neurons forget their state after every step, as "
                "persistent_state is not True; set neuron.persistent_state = True",
            )
        return
    mended = _at_rest(neuron)
    if any(part.persistent_state for part in parts):
        paths = ("neuron", "neuron.sigma", "neuron.delta")[: len(parts)]
        off = "; ".join(f"{path}.persistent_state = False" for path in paths)
        refuse(
            name,
            "keeps its state from one call to the next (persistent_state), and samples begin at "
            f"rest here; set it to False, clear what it kept ({off}{mended and '; '}{mended}) and "
            "give frames as long as the recording. (lava-dl's Recurrent and KWTA write "
            "persistent_state=True into the dict of parameters that they are given: give each "
            "block a dict of its own, dict(params))",
        )
    left = _left(neuron)
    if left:
        refuse(
            name,
            f"begins its next call with a state that is left over ({', '.join(left)}), and samples "
            f"begin at rest here; clear it ({mended}) and evaluate the network again",
        )


def _rests(neuron: Any) -> dict[str, float]:
    """Return the states with which a neuron begins a call, and their values at rest."""
    return {
        item: float(neuron.threshold) if item == "threshold_state" else 0.0
        for item in STATES
        if getattr(neuron, item, None) is not None
    }


def _left(neuron: Any) -> list[str]:
    return [item for item, rest in _rests(neuron).items() if (getattr(neuron, item) != rest).any()]


def _at_rest(neuron: Any) -> str:
    """Return the lines that put ``neuron`` to rest."""
    return "; ".join(
        f"neuron.{item}.fill_(neuron.threshold)" if rest else f"neuron.{item}.zero_()"
        for item, rest in _rests(neuron).items()
    )


def _scale(name: str, neuron: Any) -> int:
    scale = int(neuron.w_scale)
    if scale != neuron.w_scale or scale < 1 or scale & (scale - 1):
        given = neuron.w_scale
        refuse(name, f"has scale {given}, no power of two, which SLAYER's float32 needs; use 64")
    if neuron.s_scale != scale << STATE_SHIFT:
        refuse(
            name,
            f"has w_scale {scale} and s_scale {neuron.s_scale}, and the states of a graph are "
            f"{1 << STATE_SHIFT} times as fine as its weights, as scale={scale} makes them; set "
            f"neuron.s_scale = {scale << STATE_SHIFT}",
        )
    return scale


def _threshold(name: str, neuron: Any) -> int:
    scale = _scale(name, neuron)
    threshold = neuron.threshold * scale
    if threshold < 0:
        refuse(name, f"has threshold {neuron.threshold:g}, below 0; use a positive one")
    if not float(threshold).is_integer():
        refuse(
            name,
            f"has threshold {neuron.threshold:g}, no multiple of 1/{scale}, to which SLAYER rounds "
            f"what it is given; round it (neuron._threshold = int({scale} * neuron._threshold) / "
            f"{scale})",
        )
    return int(threshold)


def _change_threshold(name: str, neuron: Any) -> float:
    if neuron.w_scale != 1 << STATE_SHIFT:
        refuse(name, f"has scale {neuron.w_scale}, and changes are sent in 1/{CHANGE}; use 64")
    if neuron.delta.scale != CHANGE:
        refuse(
            name,
            f"rounds changes to 1/{neuron.delta.scale}, and they are sent in 1/{CHANGE}; set "
            f"neuron.delta.scale = {CHANGE}",
        )
    values = neuron.delta.threshold.detach().clamp(1 / neuron.delta.scale).reshape(-1)
    if not torch.all(values == values[0]):
        refuse(name, "has a threshold per channel, and sigma-delta has one; use shared_param=True")
    return float(values[0])


def _decay(name: str, neuron: Any, item: str, shape: Shape) -> IntArray:
    values = getattr(neuron, f"{item}_decay").detach()
    if neuron.requires_grad is True:  # as SLAYER asks
        values = values.clamp(0, neuron.p_scale)
    return _per_channel(name, values, shape)


def _per_channel(name: str, values: Tensor, shape: Shape) -> IntArray:
    """Rounded, one value or one per neuron of a row."""
    found = whole(f"block {name!r}: its decays", torch.round(values), 1).reshape(-1)
    if len(found) > 1 and len(shape) > 1:
        refuse(
            name,
            f"has decays per channel (shared_param=False) of {shape} neurons: SLAYER spreads them "
            "along the width on a CPU and along the channels on a GPU; use shared_param=True, or "
            "Flatten and a Dense",
        )
    if len(found) not in (1, shape[0]):
        refuse(name, f"has {len(found)} decays for {shape[0]} neurons; run it once again")
    return found


def _norm(name: str, neuron: Any, part: Any) -> tuple[IntArray, int]:
    """Bias per channel, and the power of two that divides."""
    if part is None:
        return np.zeros(1, np.int64), 0
    shift = 0
    if isinstance(part, norm.WgtScaleBatchNorm):
        std = part.std(part.running_var.detach())
        if std.numel() != 1:
            refuse(
                name,
                f"has {std.numel()} variances in its norm, where SLAYER's WgtScaleBatchNorm has "
                "one of all channels; use one",
            )
        shift = int(whole(f"block {name!r}: its norm", torch.log2(std), 1).reshape(-1)[0])
    elif not isinstance(part, norm.MeanOnlyBatchNorm):
        refuse(name, f"has the norm {type(part).__name__}; use MeanOnlyBatchNorm")
    mean = part.pre_hook_fx(part.running_mean.detach())
    bias = -whole(f"block {name!r}: the mean of its norm", mean, _scale(name, neuron))
    return bias, shift


def _counts(current: IntArray, voltage: IntArray) -> bool:
    """Return whether states are plain sums of the input, without fractions left by decays."""
    decays = np.concatenate([current, voltage])
    return bool(np.all((decays == 0) | (decays == DECAY_UNITY)))


def _spread(bias: IntArray, shape: Shape, flat: bool) -> IntArray:
    """Per channel or per neuron, as the graph has the neurons."""
    if flat and len(shape) > 1 and bias.size > 1:
        return np.ascontiguousarray(per_neuron(bias, shape)).reshape(-1)
    return bias
