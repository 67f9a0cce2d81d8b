"""Write stock NetX files as lava-dl lays them out, field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

Fields = dict[str, Any]
CUBA: Fields = {"type": "CUBA", "iDecay": 1024, "vDecay": 128, "vThMant": 20, "refDelay": 1}
WEIGHT = np.float32(2 * (np.arange(12).reshape(3, 4) % 7 - 3))


def dense(weight: Any = WEIGHT, **changes: Any) -> Fields:
    weight = weight if isinstance(weight, dict) else np.asarray(weight)
    fields = {"type": "dense", "shape": [len(weight)], "inFeatures": 4, "outFeatures": 3}
    return {**fields, "weight": weight, "neuron": CUBA, **changes}


def conv(**changes: Any) -> Fields:
    weight = np.float32(2 * (np.arange(36).reshape(2, 2, 3, 3) % 5 - 2))
    fields = {"type": "conv", "shape": [2, 4, 5], "inChannels": 2, "outChannels": 2}
    sizes = {"kernelSize": [3, 3], "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1]}
    return {**fields, **sizes, "groups": 1, "weight": weight, "neuron": CUBA, **changes}


def pool(**changes: Any) -> Fields:
    sizes = {"kernelSize": [2, 2], "stride": [2, 2], "padding": [0, 0], "dilation": [1, 1]}
    weight = np.ones((1, 1, 2, 2), np.float32)
    fields = {"type": "pool", "shape": [2, 2, 3], "weight": weight, "neuron": CUBA}
    return {**fields, **sizes, **changes}


def put(group: h5py.Group, fields: Fields) -> None:
    for name, value in fields.items():
        if isinstance(value, dict):
            put(group.create_group(name), value)
        elif name == "type" and group.name.count("/") == 2:
            group.create_dataset(name, (1,), "S10", [value.encode()])
        else:
            group.create_dataset(name, data=value)


def file(path: Path, *layers: Fields, steps: int | None = 6) -> Path:
    with h5py.File(path, "w") as into:
        for index, fields in enumerate(layers):
            put(into.create_group(f"layer/{index}"), fields)
        if steps is not None:
            put(into.create_group("simulation"), {"Ts": 1, "tSample": steps})
    return path
