"""What modules of SLAYER hold: a graph has all of it, or the network is refused.

The graph is made from the parameters, buffers and parts that SLAYER's own classes have. Whatever
else a module holds, ``forward`` might use (the bias of a synapse), and no graph would have.

Source: ``lava/lib/dl/slayer`` of lava-dl 0.6.0.
"""

from __future__ import annotations

from typing import Any

from lava.lib.dl.slayer.axon import Delay, Delta
from lava.lib.dl.slayer.block import base
from lava.lib.dl.slayer.block.sigma_delta import Output
from lava.lib.dl.slayer.dendrite import Sigma
from lava.lib.dl.slayer.neuron import adrf, adrf_iz, alif, cuba, norm, rf, rf_iz, sigma_delta
from lava.lib.dl.slayer.neuron.dropout import Dropout
from lava.lib.dl.slayer.synapse import layer
from lava.lib.dl.slayer.synapse.complex import ComplexLayer
from torch import nn
from torch.nn.utils.weight_norm import WeightNorm

from neuroport.errors import CaptureError

FIRES = "neuron synapse delay"
ADAPTS = "threshold_decay refractory_decay threshold_state refractory_state"
INTEGRATES = "current_decay voltage_decay current_state voltage_state norm drop"
RESONATES = "sin_decay cos_decay real_state imag_state norm real_norm imag_norm drop"
SYNAPSE = "weight _pre_hook_fx"

# parameters, buffers and parts of each class; the first class in the order of inheritance counts
HELD: dict[type[nn.Module], str] = {
    base.AbstractInput: "neuron weight bias pre_hook_fx",
    base.AbstractFlatten: "",
    base.AbstractAverage: "",
    base.AbstractTimeDecimation: "",
    base.AbstractAffine: "neuron synapse mask",
    base.AbstractDense: f"{FIRES} mask",
    base.AbstractConv: FIRES,
    base.AbstractPool: FIRES,
    base.AbstractConvT: FIRES,
    base.AbstractUnpool: FIRES,
    base.AbstractKWTA: "neuron synapse self_excitation spike_state",
    base.AbstractRecurrent: "neuron input_synapse recurrent_synapse delay spike_state",
    Output: "neuron synapse",
    layer.Dense: SYNAPSE,
    layer.Conv: SYNAPSE,
    layer.Pool: SYNAPSE,
    layer.ConvTranspose: SYNAPSE,
    layer.Unpool: SYNAPSE,
    ComplexLayer: "real imag",
    Delay: "delay",
    Sigma: "pre_state",
    Delta: "threshold pre_state residual_state error_state",
    cuba.Neuron: INTEGRATES,
    alif.Neuron: f"{INTEGRATES} {ADAPTS}",
    rf.Neuron: RESONATES,
    rf_iz.Neuron: RESONATES,
    adrf.Neuron: f"{RESONATES} {ADAPTS}",
    adrf_iz.Neuron: f"{RESONATES} {ADAPTS}",
    sigma_delta.Neuron: "sigma delta bias activation norm drop",
    norm.MeanOnlyBatchNorm: "running_mean pre_hook_fx",
    norm.WgtScaleBatchNorm: "running_mean running_var pre_hook_fx",
    Dropout: "",
}

SYNAPSE_VALUES = {"bias": None, "complex": False}
TRANSPOSED_VALUES = {**SYNAPSE_VALUES, "output_padding": (0, 0, 0)}

# attributes that SLAYER's forward passes use and the graph takes for given
VALUES: dict[type[nn.Module], dict[str, Any]] = {
    base.AbstractKWTA: {"bias": None},
    base.AbstractRecurrent: {"bias": None},
    layer.Dense: {
        **SYNAPSE_VALUES,
        "stride": (1, 1, 1),
        "padding": (0, 0, 0),
        "dilation": (1, 1, 1),
        "groups": 1,
    },
    layer.Conv: SYNAPSE_VALUES,
    layer.Pool: SYNAPSE_VALUES,
    layer.ConvTranspose: TRANSPOSED_VALUES,
    layer.Unpool: {**TRANSPOSED_VALUES, "groups": 1},
    ComplexLayer: {"complex": True},
}


def refuse_contents(name: str, module: nn.Module) -> None:
    """Refuse what ``module`` holds and the graph would not have.

    Raises:
        CaptureError: names the module, what it holds and what to do.
    """
    own = next((kind for kind in type(module).__mro__ if kind in HELD), None)
    if own is None:
        return
    what = f"{name!r} ({type(module).__name__})"
    for item, wanted in VALUES.get(own, {}).items():
        found = getattr(module, item, wanted)
        if not _is(found, wanted):
            _refuse_value(what, item, found, wanted)
    known = {*HELD[own].split(), *_of_weight_norm(module)}
    for held in (module._parameters, module._buffers, module._modules):
        for item, value in held.items():
            if value is not None and item not in known:
                how = (
                    "remove it (torch.nn.utils.parametrize.remove_parametrizations)"
                    if item == "parametrizations"
                    else "delete it, or keep it outside of the block"
                )
                raise CaptureError(
                    f"{what} holds {item!r}, which SLAYER's own class does not have and the graph "
                    f"would not; {how}"
                )


def _is(found: Any, wanted: Any) -> bool:
    if wanted is None or isinstance(wanted, bool):
        return found is wanted
    if isinstance(wanted, tuple):
        return isinstance(found, (tuple, list)) and tuple(found) == wanted
    return bool(found == wanted)


def _refuse_value(what: str, item: str, found: Any, wanted: Any) -> None:
    if item == "bias":
        raise CaptureError(
            f"{what} has a bias, which SLAYER's own class does not have and the graph would not; "
            "set it to None, and let a norm of the neurons (slayer.neuron.norm.MeanOnlyBatchNorm) "
            "hold it"
        )
    raise CaptureError(
        f"{what} has {item}={found!r}, where SLAYER's own class has {wanted!r} and the graph too; "
        f"set it back to {wanted!r}"
    )


def _of_weight_norm(module: nn.Module) -> tuple[str, ...]:
    """Names of the parameters of ``weight``, where weight norm computes it."""
    hooks = module._forward_pre_hooks.values()
    if any(isinstance(hook, WeightNorm) and hook.name == "weight" for hook in hooks):
        return "weight_g", "weight_v"
    return ()
