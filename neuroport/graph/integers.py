"""The integer arithmetic of the network: the only definition.

Every function works on NumPy ``int64`` arrays and on torch ``int64`` tensors alike (only Python
operators and ``clip`` are used), so the reference engine and the quantization-aware forward pass
execute the same lines. The semantics are those of Lava's bit-accurate LIF process
(``lava/proc/lif/models.py``, ``AbstractPyLifModelFixed``) and of its fixed-point connections.
"""

from __future__ import annotations

from typing import Any, TypeAlias

STATE_BITS = 24
STATE_MAX = (1 << (STATE_BITS - 1)) - 1  # 8388607, the largest voltage
DECAY_UNITY = 4096  # a decay of 4096 forgets everything in one step
STATE_SHIFT = 6  # currents, biases and thresholds enter the state shifted left by 6 bits

CURRENT_MAX = (1 << 17) - 1  # |current| beyond this wraps the 24-bit state after the shift
THRESHOLD_MAX = (1 << 17) - 1
BIAS_MAX = 4095  # 13-bit signed mantissa
WEIGHT_MAX = 254  # even weights: the 8-bit field of a mixed-sign synapse holds bits 8..1
DELAY_MAX = 62  # Loihi 2 counts 6 bits of delay, one step of which the synapse itself takes
MESSAGE_MAX = (1 << 23) - 1  # 24-bit signed graded message
ACCUMULATOR_MAX = (1 << 31) - 1  # engines add up in 32 bits or more

AdaptiveStates: TypeAlias = tuple[Any, Any, Any, Any]
Adaptation: TypeAlias = tuple[Any, Any, Any, Any]  # see adaptive_lif_step


def decay(x: Any, rate: Any) -> Any:
    """Multiply by ``(4096 - rate) / 4096`` and truncate toward zero.

    ``decay(x, d) = sign(x) * ((|x| * (4096 - d)) >> 12)``
    """
    magnitude = (abs(x) * (DECAY_UNITY - rate)) >> 12
    return magnitude * ((x > 0) * 2 - 1)


def wrap24(x: Any) -> Any:
    """Wrap into 24 bits as Lava's current does: the range is (-2**23, 2**23]."""
    top = 1 << (STATE_BITS - 1)
    return top - ((top - x) & ((1 << STATE_BITS) - 1))


def saturate24(x: Any) -> Any:
    """Clip to +-(2**23 - 1), as Lava's voltage does."""
    return x.clip(-STATE_MAX, STATE_MAX)


def round_shift(x: Any, shift: int) -> Any:
    """Divide by ``2**shift`` and round half up: ``(x + 2**(shift-1)) >> shift``."""
    return x if shift == 0 else (x + (1 << (shift - 1))) >> shift


def lif_step(
    u: Any, v: Any, current: Any, bias: Any, current_decay: Any, voltage_decay: Any, threshold: Any
) -> tuple[Any, Any, Any]:
    """One step of the leaky integrate-and-fire neuron.

    ::

        u = wrap24(decay(u, current_decay) + (current << 6))
        v = saturate24(decay(v, voltage_decay) + u + (bias << 6))
        s = v > (threshold << 6)                      strict

    Returns ``(u, v, s)`` with ``v`` *before* the reset; the caller continues with
    :func:`reset`. Shapes broadcast; all arguments are int64.
    """
    u, v = leak_step(u, v, current, bias, current_decay, voltage_decay)
    return u, v, v > (threshold << STATE_SHIFT)


def leak_step(
    u: Any, v: Any, current: Any, bias: Any, current_decay: Any, voltage_decay: Any
) -> tuple[Any, Any]:
    """The current and voltage of :func:`lif_step`, for a neuron that never fires."""
    u = wrap24(decay(u, current_decay) + (current << STATE_SHIFT))
    return u, saturate24(decay(v, voltage_decay) + u + (bias << STATE_SHIFT))


def leak_leaves(
    u: Any, v: Any, current: Any, bias: Any, current_decay: Any, voltage_decay: Any, limit: int
) -> Any:
    """Return where a step of :func:`leak_step` exceeds its widths: one truth value per neuron.

    True where ``|current| > limit``, or where a state would wrap or saturate at 24 bits.
    """
    whole = decay(u, current_decay) + (current << STATE_SHIFT)
    u = wrap24(whole)
    v = decay(v, voltage_decay) + u + (bias << STATE_SHIFT)
    return (abs(current) > limit) | (whole != u) | (abs(v) > STATE_MAX)


def reset(v: Any, spikes: Any) -> Any:
    """Hard reset to zero where the neuron fired."""
    return v * (spikes == 0)


def subtract(v: Any, spikes: Any, amount: Any) -> Any:
    """Soft reset: subtract ``amount`` from the voltage where the neuron fired."""
    return v - amount * spikes


def relay(current: Any, shift: int, threshold: int) -> Any:
    """Message of a stateless relay: rounded shift, then 0 where ``|message| <= threshold``."""
    message = round_shift(current, shift)
    return message * (abs(message) > threshold)


def readout_step(v: Any, current: Any, bias: Any) -> Any:
    """One step of an integrator: ``v = saturate24(v + wrap24(current << 6) + (bias << 6))``."""
    return saturate24(v + wrap24(current << STATE_SHIFT) + (bias << STATE_SHIFT))


def delta_step(
    act: Any, residue: Any, current: Any, threshold: Any, spike_exponent: int, state_exponent: int
) -> tuple[Any, Any, Any]:
    """One step of the delta encoder: send the change once it is large enough.

    ::

        new   = current << (spike_exponent + state_exponent)
        delta = new - act + residue
        sent  = delta  where |delta| >= threshold << (spike_exponent + state_exponent), else 0
        m     = sent >> state_exponent                     rounds down

    Source: ``lava/proc/sdn/models.py``, ``PyDeltaModelFixed`` (without cumulative error, which
    NetX never asks for). Returns ``(act, residue, m)``.
    """
    scale = spike_exponent + state_exponent
    return _send_change(act, residue, current << scale, threshold << scale, state_exponent)


def sigma_step(sigma: Any, current: Any) -> Any:
    """One step of the decoder of deltas: ``sigma + current``.

    Source: ``lava/proc/sdn/models.py``, ``PySigmaModelFixed``.
    """
    return sigma + current


def sigma_delta_step(
    sigma: Any,
    act: Any,
    residue: Any,
    current: Any,
    bias: Any,
    threshold: Any,
    spike_exponent: int,
    state_exponent: int,
) -> tuple[Any, Any, Any, Any]:
    """One step of a rectifying unit that receives changes and sends changes.

    ::

        sigma = sigma + current
        new   = max(sigma + (bias << (spike_exponent + state_exponent)), 0)

    and then as :func:`delta_step`; bits below ``state_exponent`` of what is sent are lost.
    Source: ``lava/proc/sdn/models.py``, ``PySigmaDeltaModelFixed`` with ``ActivationMode.RELU``.
    Returns ``(sigma, act, residue, m)``.
    """
    scale = spike_exponent + state_exponent
    sigma = sigma_step(sigma, current)
    new = sigma + (bias << scale)
    new = new * (new > 0)
    return sigma, *_send_change(act, residue, new, threshold << scale, state_exponent)


def _send_change(
    act: Any, residue: Any, new: Any, threshold: Any, shift: int
) -> tuple[Any, Any, Any]:
    delta = new - act + residue
    sent = delta * (abs(delta) >= threshold)
    return new, delta - sent, sent >> shift


def resonate_step(
    real: Any, imag: Any, a_real: Any, a_imag: Any, sin: Any, cos: Any, threshold: Any
) -> tuple[Any, Any, Any]:
    """One step of the resonate-and-fire neuron, which fires as its phase passes zero.

    ::

        trunc(x) = sign(x) * (|x| >> 12)
        real' = saturate24(trunc(cos * real) - trunc(sin * imag) + (a_real << 6))
        imag' = saturate24(trunc(sin * real) + trunc(cos * imag) + (a_imag << 6))
        s     = real' >= threshold  and  imag' >= 0  and  imag < 0

    ``sin`` and ``cos`` hold decay and rotation in units of 1/4096; ``threshold`` is in units of
    the state, 64 to one of current. Source: ``lava/proc/rf/models.py``, ``PyRFModelFixed``.
    Returns ``(real', imag', s)``.
    """
    before = imag
    real, imag = _resonate(real, imag, a_real, a_imag, sin, cos)
    return real, imag, (real >= threshold) & (imag >= 0) & (before < 0)


def resonate_izhikevich_step(
    real: Any, imag: Any, a_real: Any, a_imag: Any, sin: Any, cos: Any, threshold: Any
) -> tuple[Any, Any, Any]:
    """One step of Izhikevich's resonate-and-fire neuron: fires at ``imag' >= threshold``.

    Dynamics as :func:`resonate_step`; where it fired, ``real' = 0`` and ``imag' = threshold - 1``.
    Source: ``lava/proc/rf_iz/models.py``, ``PyRF_IZModelFixed``. Returns ``(real', imag', s)``
    after the reset.
    """
    real, imag = _resonate(real, imag, a_real, a_imag, sin, cos)
    spikes = imag >= threshold
    kept = ~spikes
    return real * kept, imag * kept + (threshold - 1) * spikes, spikes


def adaptive_lif_step(
    states: AdaptiveStates,
    current: Any,
    bias: Any,
    current_decay: Any,
    voltage_decay: Any,
    adaptation: Adaptation,
) -> tuple[AdaptiveStates, Any]:
    """One step of the leaky integrate-and-fire neuron with an adaptive threshold.

    ``states`` are ``(u, v, rise, hold)``: current, voltage, how far the threshold has risen, and
    the refractory state, which is added to it; all 0 where a sample begins. ``adaptation`` is
    ``(threshold, threshold_step, threshold_decay, refractory_decay)``, the first two in units of
    the state, 64 to one of current.

    ::

        u = wrap24(decay(u, current_decay) + ((current + bias) << 6))
        v = saturate24(decay(v, voltage_decay) + u)             never reset
        rise = decay(rise, threshold_decay);  th = threshold + rise
        hold = decay(hold, refractory_decay)
        s = v >= th + hold                                      not strict
        rise = saturate24(rise + threshold_step)  where s
        hold = saturate24(hold + 2 * th)          where s

    Source: ``neuron/alif.py`` and ``neuron/dynamics/adaptive_threshold.py`` of SLAYER in lava-dl
    0.6.0, on the CPU, whose states have no width; Lava has no such process.
    Returns ``(states, s)``.
    """
    u, v, rise, hold = states
    u = wrap24(decay(u, current_decay) + ((current + bias) << STATE_SHIFT))
    v = saturate24(decay(v, voltage_decay) + u)
    rise, hold, spikes = _adapt(v, 1, rise, hold, adaptation)
    return (u, v, rise, hold), spikes


def adaptive_resonate_step(
    states: AdaptiveStates,
    a_real: Any,
    a_imag: Any,
    sin: Any,
    cos: Any,
    adaptation: Adaptation,
    izhikevich: bool,
) -> tuple[AdaptiveStates, Any]:
    """One step of the resonate-and-fire neuron with an adaptive threshold.

    ``states`` are ``(real, imag, rise, hold)``. Dynamics as :func:`resonate_step`, the threshold
    and ``adaptation`` as :func:`adaptive_lif_step`; nothing is reset, with ``izhikevich`` neither.

    ::

        s = real' >= th + hold  and  imag' >= 0  and  imag < 0      by phase
        s = imag' >= th + hold                                      izhikevich

    Source: ``neuron/adrf.py``, ``neuron/adrf_iz.py``, ``neuron/dynamics/adaptive_phase_th.py`` and
    ``neuron/dynamics/adaptive_resonator.py`` of SLAYER in lava-dl 0.6.0, on the CPU; Lava has no
    such process. Returns ``(states, s)``.
    """
    real, imag, rise, hold = states
    before = imag
    real, imag = _resonate(real, imag, a_real, a_imag, sin, cos)
    level, may = (imag, 1) if izhikevich else (real, (imag >= 0) & (before < 0))
    rise, hold, spikes = _adapt(level, may, rise, hold, adaptation)
    return (real, imag, rise, hold), spikes


def _adapt(
    level: Any, may: Any, rise: Any, hold: Any, adaptation: Adaptation
) -> tuple[Any, Any, Any]:
    threshold, threshold_step, threshold_decay, refractory_decay = adaptation
    rise, hold = decay(rise, threshold_decay), decay(hold, refractory_decay)
    raised = threshold + rise
    spikes = (level >= raised + hold) * may
    rise = saturate24(rise + threshold_step * spikes)
    return rise, saturate24(hold + 2 * raised * spikes), spikes


def _resonate(
    real: Any, imag: Any, a_real: Any, a_imag: Any, sin: Any, cos: Any
) -> tuple[Any, Any]:
    turned = _turn(cos, real) - _turn(sin, imag) + (a_real << STATE_SHIFT)
    other = _turn(sin, real) + _turn(cos, imag) + (a_imag << STATE_SHIFT)
    return saturate24(turned), saturate24(other)


def _turn(factor: Any, x: Any) -> Any:
    product = factor * x
    return (abs(product) >> 12) * ((product > 0) * 2 - 1)
