"""State dicts of SpikingJelly's own networks, brought in: logits against SpikingJelly's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from spikingjelly.activation_based.model import ms_resnet, sew_resnet, spiking_resnet
from torch import Tensor, nn

import neuroport as port
from neuroport.recipe import from_dict
from tests.helpers.modules import randomize

STEPS, SIDE, CLASSES = 3, 64, 10
IF = {"spiking_neuron": neuron.IFNode, "surrogate_function": surrogate.ATan(), "detach_reset": True}
SPIKES = {"threshold": 1.0, "voltage_decay": 0.0}
NETWORKS: dict[str, tuple[dict[str, Any], Callable[[], nn.Module]]] = {
    "sew_resnet18": (
        {"family": "sew_resnet", "depth": 18, **SPIKES},
        lambda: sew_resnet.sew_resnet18(cnf="ADD", num_classes=CLASSES, **IF),
    ),
    "sew_resnet50": (
        {"family": "sew_resnet", "depth": 50, **SPIKES},
        lambda: sew_resnet.sew_resnet50(cnf="ADD", num_classes=CLASSES, **IF),
    ),
    "spiking_resnet34": (
        {"family": "plain_resnet", "depth": 34, **SPIKES},
        lambda: spiking_resnet.spiking_resnet34(num_classes=CLASSES, **IF),
    ),
    "ms_resnet18": (
        {"family": "ms_resnet", "depth": 18},
        lambda: ms_resnet.ms_resnet18(T=STEPS, num_classes=CLASSES),
    ),
}


@torch.no_grad()
def compared(name: str) -> dict[str, Any]:
    """Largest difference of the logits, and what they span."""
    table, make = NETWORKS[name]
    data = {"dataset": "imagenet", "root": "none", "steps": STEPS, "size": SIDE, "classes": CLASSES}
    network = {"widths": [64, 128, 256, 512], **table}
    recipe = from_dict({"name": name, "data": data, "network": network})
    theirs = randomize(make(), 3).double()
    functional.set_step_mode(theirs, "m")
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d) and "threshold" in table:
            module.weight.mul_(2)  # of neurons whose threshold is 1
    state = {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in theirs.state_dict().items()
    }
    theirs.load_state_dict(state)
    pixels = torch.randint(
        0, 256, (1, 2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1)
    )
    frames = pixels.double().expand(STEPS, -1, -1, -1, -1)
    want: Tensor = theirs(frames / 255)
    if want.ndim == 3:
        want = want.mean(0)
    made = port.import_weights(state, recipe)
    got = made.net.double()(frames)
    return {
        "entries": len(made.entries),
        "of": len(state),
        "difference": float((got - want).abs().max()),
        "deviation": float(want.std()),
    }


if __name__ == "__main__":
    print(json.dumps({name: compared(name) for name in NETWORKS}))
