"""The complete workflow on real digits: train, quantize, lower, export, run, compare, report."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import neuroport as port
from neuroport.engines.table import ready
from neuroport.errors import BackendError
from neuroport.files import write_atomic, write_json
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import GRADED
from neuroport.graph.store import save
from neuroport.recipe import parsed_recipe, recipe_text
from neuroport.reporting.progress import progress_bar, training_report
from neuroport.runs.trace import Trace, versions

if TYPE_CHECKING:
    from torch import nn

Line = Callable[[str], None]


def demo(
    recipe_path: str, folder: Path, samples: int, line: Line, device: str = "auto"
) -> dict[str, Any]:
    """Run every stage in ``folder``, resuming training from its checkpoint; returns the results.

    Writes the checkpoint, ``quantized.graph``, ``lowered.graph``, ``<name>.net``, ``frames.npy``,
    ``labels.npy``, one ``.trace`` per engine, ``report.html`` and ``demo.json``.

    Args:
        device: where it is trained: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        NeuroportError: a stage refused or failed; earlier stages' files are kept.
    """
    ready("lava-cpu")  # refuse before minutes of training, not after
    from neuroport.data.loading import calibration_frames, load_data
    from neuroport.data.samples import frames_of, save_array
    from neuroport.quantization.calibration import CALIBRATION
    from neuroport.training.averaging import accuracies
    from neuroport.training.checkpoint import read_checkpoint
    from neuroport.training.fit import evaluate, fit

    text = recipe_text(recipe_path)  # once: the file may be edited while it is trained
    recipe = parsed_recipe(text, recipe_path)
    data = load_data(recipe.data)
    total = len(data.test.labels)
    if not 1 <= samples <= total:
        raise BackendError(f"--samples is {samples}; use 1 to {total} held-out samples")
    seconds: dict[str, float] = {}
    folder.mkdir(parents=True, exist_ok=True)

    count = len(data.train.labels)
    line(f"train     {recipe.name}: {count} samples, T = {recipe.data.steps}")
    with _timed(seconds, "train"), training_report(line) as report:
        net = fit(recipe, folder, report=report, data=data, device=device)
    write_atomic(folder / "recipe.toml", text)
    metrics = read_checkpoint(folder).metrics

    with _timed(seconds, "quantize"):
        graph = port.quantize(net, calibration_frames(data.train, recipe.data, CALIBRATION))
        save(graph, folder / "quantized.graph")
    line(f"quantize  {folder}/quantized.graph: {len(graph)} nodes, integers from here on")

    with _timed(seconds, "evaluate"):
        correct = evaluate(net, data.test, recipe.data.steps)
    with _timed(seconds, "lower"):
        chip = port.lower(graph)
        save(chip, folder / "lowered.graph")
    line(f"lower     {folder}/lowered.graph: {carried(chip)}")
    with _timed(seconds, "export"):
        net_path = port.export(chip, folder / f"{recipe.name}.net")
    line(f"export    {net_path}: {net_path.stat().st_size / 1024:.0f} KiB")

    frames = np.ascontiguousarray(frames_of(data.test, slice(samples), recipe.data.steps))
    labels = data.test.labels[:samples]
    save_array(folder / "frames.npy", frames)
    save_array(folder / "labels.npy", labels)
    traces: dict[str, Trace] = {}
    for engine, network in (("module", net), ("reference", net_path), ("lava-cpu", net_path)):
        with _timed(seconds, f"run {engine}"), progress_bar(engine) as progress:
            traces[engine] = port.run(network, frames, on=engine, progress=progress)
            traces[engine].save(folder / f"{engine}.trace")
        line(f"run       {engine}: {samples} held-out samples in {seconds[f'run {engine}']:.1f} s")

    comparisons = [
        port.compare(traces[want], traces["lava-cpu"], graph=chip, frames=frames)
        for want in ("reference", "module")
    ]
    for comparison in comparisons:
        line(f"compare   {comparison}".replace("\n", "\n          "))
    reached = accuracies(recipe, metrics)
    lava_correct = int((traces["lava-cpu"].predictions == labels).sum())
    results: dict[str, Any] = {
        "name": recipe.name,
        "recipe": recipe.to_dict(),
        "accuracy": {
            **{phase: _accuracy(percent, total) for phase, percent in reached.items()},
            "quantized": _accuracy(100 * correct / total, total),
            "lava-cpu": _accuracy(100 * lava_correct / samples, samples),
        },
        "comparisons": [c.to_dict() for c in comparisons],
        "equal": all(comparisons),
        "graph": graph_facts(chip) | {"parameters": trainable(net)},
        "activity": port.statistics(chip, traces["lava-cpu"], frames).to_dict(),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "training_seconds": round(sum(m["seconds"] for m in metrics), 1),
        "versions": {
            "python": platform.python_version(),
            **versions("torch", "numpy", "h5py", "lava-nc", "lava-dl"),
        },
    }
    with _timed(seconds, "report"):
        page = port.report(
            chip,
            traces["lava-cpu"],
            folder / "report.html",
            results=results,
            frames=frames,
            labels=labels,
        )
    results["seconds"]["report"] = round(seconds["report"], 2)
    write_json(folder / "demo.json", results)
    line(f"report    {page}")
    return results


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started


def trainable(net: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def _relays(graph: Graph) -> int:
    return len([node for node in graph.populations if node.emits == GRADED])


def carried(chip: Graph) -> str:
    """Describe the carriers of a lowered network's shortcuts: relays, and synapses that wait
    (``lag``) for the branch that they bypass."""
    relays = _relays(chip)
    late = len([node for node in chip.synapses if node.lag])
    told = [f"{relays} {'relay carries' if relays == 1 else 'relays carry'} shortcuts"] * bool(
        relays
    )
    told += [f"shortcuts wait in {late} synapse{'s' * (late > 1)}"] * bool(late)
    return ", ".join(told) or "no shortcut has to wait"


def _accuracy(percent: float, samples: int) -> dict[str, float]:
    return {"percent": round(percent, 2), "samples": samples}


def graph_facts(graph: Graph) -> dict[str, Any]:
    """Sizes of a network, for its results."""
    synapses = list(graph.synapses)
    return {
        "hash": graph.hash,
        "nodes": len(graph),
        "populations": len(graph.populations),
        "synapses": len(synapses),
        "relays": _relays(graph),
        "weights": sum(node.packed("weight").size for node in synapses),
        "depth": graph.depth,
    }
