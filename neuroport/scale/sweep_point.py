"""One point of a sweep: trained, quantized and lowered in a folder of its own."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroport.files import write_json
from neuroport.recipe import changed, from_dict

if TYPE_CHECKING:
    from neuroport.targets.target import Target

GRAPH_FILE, RESULT = "network.graph", "result.json"
KEPT = (RESULT, GRAPH_FILE, "checkpoint.safetensors", "metrics.jsonl")  # what a worker sends


def point(
    recipe: Mapping[str, Any],
    changes: Sequence[str],
    folder: Path,
    target: str,
    name: str = "sweep",
) -> None:
    """Train one point in ``folder``, resuming what is there; ``result.json`` is written last."""
    from neuroport.data.loading import calibration_frames, load_data
    from neuroport.graph.store import save
    from neuroport.quantization import quantize
    from neuroport.quantization.calibration import CALIBRATION
    from neuroport.targets.lowering import options
    from neuroport.targets.target import load_target
    from neuroport.training.averaging import accuracies
    from neuroport.training.checkpoint import read_checkpoint
    from neuroport.training.fit import fit

    parsed = changed(from_dict(dict(recipe), name), changes)
    net = fit(parsed, folder)
    train = load_data(parsed.data).train
    graph = quantize(net, calibration_frames(train, parsed.data, CALIBRATION))
    save(graph, folder / GRAPH_FILE)
    legal = [each for each in options(graph, load_target(target)) if not each.refusal]
    reached = accuracies(parsed, read_checkpoint(folder).metrics)
    ordered = sorted((each.to_dict() for each in legal), key=_dearness)
    write_json(
        folder / RESULT,
        {"changes": list(changes), "accuracy": reached, "graph": graph.hash, "options": ordered},
    )


def _dearness(option: Mapping[str, Any]) -> tuple[float, float]:
    return option.get("cores", 0), option["step_seconds"]


def content_of(target: Target) -> str:
    """Return a hash of a target's values, its bases included; their sources change no result."""
    values = {key: fact.value for key, fact in target.values.items()}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def packed(folder: Path) -> bytes:
    """The files of a point, as a worker sends them."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in KEPT:
            if (folder / name).exists():
                archive.write(folder / name, name)
    return content.getvalue()
