"""The integer arithmetic of the network: the only definition.

Every function works on NumPy ``int64`` arrays and on torch ``int64`` tensors alike (only Python
operators and ``clip`` are used), so the reference engine and the quantization-aware forward pass
execute the same lines. The semantics are those of Lava's bit-accurate LIF process
(``lava/proc/lif/models.py``, ``AbstractPyLifModelFixed``) and of its fixed-point connections.
"""

from __future__ import annotations

from typing import Any

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
    u = wrap24(decay(u, current_decay) + (current << STATE_SHIFT))
    v = saturate24(decay(v, voltage_decay) + u + (bias << STATE_SHIFT))
    return u, v, v > (threshold << STATE_SHIFT)


def reset(v: Any, spikes: Any) -> Any:
    """Hard reset to zero where the neuron fired."""
    return v * (spikes == 0)


def relay(current: Any, shift: int, threshold: int) -> Any:
    """Message of a stateless relay: rounded shift, dropped where ``|message| <= threshold``."""
    message = round_shift(current, shift)
    return message * (abs(message) > threshold)


def readout_step(v: Any, current: Any, bias: Any) -> Any:
    """One step of an integrator: ``v = saturate24(v + wrap24(current << 6) + (bias << 6))``."""
    return saturate24(v + wrap24(current << STATE_SHIFT) + (bias << STATE_SHIFT))
