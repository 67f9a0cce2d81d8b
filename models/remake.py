"""Remake models of the zoo from their recipes: `python models/remake.py NAME`; `make zoo`: all.

Trains in ``runs/zoo/NAME``, resuming what is there, quantizes, lowers and exports. Then runs every
held-out sample on the torch module and on the fast engine, the first ones on Lava CPU too, and
compares every population with the reference engine's. Nothing is stored unless all are equal. Then
weights, network, samples, results and the figures of the card go to ``models/NAME``.
"""

from __future__ import annotations

import platform
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import neuroport as port
from neuroport.data.loading import load_data
from neuroport.data.samples import frames_of, save_array
from neuroport.demo import graph_facts, trainable
from neuroport.files import read_json, write_atomic, write_json
from neuroport.recipe import load_recipe
from neuroport.reporting.progress import training_report
from neuroport.runs.trace import Trace, versions
from neuroport.training.checkpoint import State, read_checkpoint, save_checkpoint
from neuroport.training.fit import fit

MODELS = Path(__file__).resolve().parent
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
TOGETHER = 50  # samples whose every population is held at once
SHOWN = 20  # samples that are stored with a model
MOST = 2_000_000  # bytes of weights that are stored; larger ones are remade
# the same function as another model: kept as a test of that, not ranked
SAME = {"danet20_spike_stage_mnist": "sew_resnet20_mnist"}
DEMO = "ms_resnet8_mnist"  # what the demo trains; `make figures` remakes it
FUSED = "lava-cpu fused"
WORDS = {
    "module": "the torch module",
    "fast": "the fast engine",
    "lava-cpu": "Lava CPU",
    FUSED: "Lava CPU with fused processes",
}
ENERGY = MODELS.parent / "docs" / "energy.json"
BASELINES = MODELS.parent / "docs" / "baselines.json"  # of benchmarks.jelly_baseline


@dataclass
class Engine:
    """What an engine did with the samples it was given."""

    network: Any
    samples: int = 0
    correct: int = 0
    seconds: float = 0.0
    populations: int = 0
    positions: int = 0
    differing: int = 0
    options: dict[str, str] = field(default_factory=dict)

    def run(self, on: str, frames: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Trace:
        """Run ``frames`` (T, N, *shape) and count."""
        started = time.perf_counter()
        trace = port.run(self.network, frames, on=on.split()[0], **self.options)
        self.seconds += time.perf_counter() - started
        self.samples += len(labels)
        self.correct += int((trace.predictions == labels).sum())
        return trace

    def to_dict(self) -> dict[str, Any]:
        """Counts, and seconds per sample."""
        left_out = ("network", "seconds", "options")
        counts = {k: v for k, v in vars(self).items() if k not in left_out}
        return counts | {"seconds_per_sample": round(self.seconds / max(self.samples, 1), 4)}


def remake(home: Path, runs: Path, lava: int) -> None:
    """Train, deploy, compare and store the model in ``home``; ``lava`` samples run on Lava."""
    name = home.name
    recipe = load_recipe(home / "recipe.toml")
    click.echo(name)
    data = load_data(recipe.data)
    with training_report(click.echo) as report:
        net = fit(recipe, runs / name, report=report, data=data)
    held = data.test
    first = np.ascontiguousarray(frames_of(held, slice(1), recipe.data.steps))
    chip = port.lower(port.quantize(net, first))
    net_path = port.export(chip, runs / name / f"{name}.net")
    reference = Engine(net_path)
    others = {"module": Engine(net), "fast": Engine(net_path), "lava-cpu": Engine(net_path)}
    others[FUSED] = Engine(net_path, options={"processes": "fused"})
    spikes = 0.0
    for at in range(0, len(held.labels), TOGETHER):
        labels = held.labels[at : at + TOGETHER]
        frames = frames_of(held, slice(at, at + TOGETHER), recipe.data.steps)
        frames = np.ascontiguousarray(frames)
        want = reference.run("reference", frames, labels)
        spikes += len(labels) * (port.statistics(chip, want, frames).spikes_per_neuron or 0.0)
        for on, engine in others.items():
            few = on.startswith("lava-cpu")
            count = min(len(labels), max(0, lava - at)) if few else len(labels)
            if count:
                _check(engine, on, want, chip, frames[:, :count], labels[:count])
        if at == 0:
            _store_samples(home, frames, labels)
        click.echo(f"  {at + len(labels)} samples compared: 0 differ")
    state = read_checkpoint(runs / name)
    results = {
        "name": name,
        "recipe": recipe.to_dict(),
        "float": [m for m in state.metrics if m["phase"] == "float"][-1]["accuracy"],
        "spikes_per_neuron": round(spikes / len(held.labels), 4),
        "engines": {on: e.to_dict() for on, e in {"reference": reference, **others}.items()},
        "graph": graph_facts(chip) | {"parameters": trainable(net)},
        "bytes": net_path.stat().st_size,
        "training": {
            "seconds": round(sum(m["seconds"] for m in state.metrics), 1),
            "device": sorted({m.get("device", "cpu") for m in state.metrics}),
            "threads": torch.get_num_threads(),
            "epochs": [
                {k: m[k] for k in ("phase", "loss", "accuracy", "seconds")} for m in state.metrics
            ],
        },
        "versions": {
            "python": platform.python_version(),
            **versions("torch", "numpy", "h5py", "lava-nc", "lava-dl"),
        },
    }
    _store(home, state, net, net_path, results)


def _check(
    engine: Engine,
    on: str,
    want: Trace,
    chip: Any,
    frames: npt.NDArray[Any],
    labels: npt.NDArray[Any],
) -> None:
    if len(labels) < want.samples:
        want = port.run(chip, frames)
    got = engine.run(on, frames, labels)
    found = port.compare(want, got, graph=chip, frames=frames)
    if not found:
        raise click.ClickException(f"{found}\nnothing was stored")
    engine.populations = found.populations
    engine.positions += found.positions
    engine.differing += found.differing


def _store_samples(home: Path, frames: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    save_array(home / "frames.npy", np.ascontiguousarray(frames[:, :SHOWN]))
    save_array(home / "labels.npy", labels[:SHOWN])


def _store(home: Path, state: State, net: nn.Module, net_path: Path, results: Any) -> None:
    state.tensors = {n: t for n, t in state.tensors.items() if n.startswith("model.")}
    if 4 * sum(t.numel() for t in net.state_dict().values()) <= MOST:
        save_checkpoint(home, state)
    write_atomic(home / "network.net", net_path.read_bytes())
    write_json(home / "results.json", results)
    write_table(home / "README.md", figures(results))


def write_table(path: Path, table: str) -> None:
    """Replace what stands between the markers of a card, or of the list of all models."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    page = pattern.sub(lambda _: f"{BEGIN}\n{table}\n{END}", path.read_text())
    write_atomic(path, page)


def listing(models: Path) -> str:
    """One row per model that is made, for the list of all models."""
    rows = [
        "| model | samples | real numbers | integers | differ, every engine | differ on Lava CPU "
        "| spikes per neuron | synaptic operations |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    energy = read_json(ENERGY)["networks"]
    for path in sorted(models.glob("*/results.json")):
        found = read_json(path)
        if path.parent.name in (DEMO, *SAME):
            continue
        engines = found["engines"]
        samples = engines["reference"]["samples"]
        here = sum(engines[on]["differing"] for on in ("module", "fast"))
        compared = sum(engines[on]["positions"] for on in ("module", "fast"))
        lava = engines["lava-cpu"]
        work = energy.get(path.parent.name, {}).get("energy", {}).get("work")
        operations = "" if work is None else f"{work['chip_operations'] / 1e6:.1f} M"
        rows.append(
            f"| [{path.parent.name}]({path.parent.name}) | {samples:,} | {found['float']:.1f} % "
            f"| {100 * engines['reference']['correct'] / samples:.1f} % "
            f"| {here} of {compared:,} | {lava['differing']} of {lava['positions']:,} "
            f"| {found['spikes_per_neuron']:.2f} | {operations} |"
        )
    return "\n".join(rows)


def figures(results: dict[str, Any]) -> str:
    """The card's table."""
    engines, graph, training = results["engines"], results["graph"], results["training"]
    total = engines["reference"]["samples"]
    rows = [
        ("test accuracy, real numbers", f"{results['float']:.1f} % of {total:,}"),
        (
            "test accuracy, integers",
            f"{100 * engines['reference']['correct'] / total:.1f} % of {total:,}",
        ),
    ]
    if BASELINES.exists() and (other := read_json(BASELINES).get(results["name"])):
        jelly = f"SpikingJelly {other['versions']['spikingjelly']}"
        rows.append(
            (
                f"{jelly}'s MS-ResNet, real numbers, by the same recipe",
                f"{other['accuracy']:.1f} % of {other['samples']:,}",
            )
        )
    rows += [
        (
            f"positions compared, {words} against the reference",
            f"{engines[on]['positions']:,} in {engines[on]['populations']} populations, "
            f"{engines[on]['samples']:,} samples: **{engines[on]['differing']} differ**",
        )
        for on, words in WORDS.items()
        if on in engines
    ]
    where = f"{training['threads']} of 2 cores"
    if (devices := training.get("device", ["cpu"])) != ["cpu"]:
        where = " and ".join(where if name == "cpu" else name for name in devices)
    each = ", ".join(f"{engines[on]['seconds_per_sample']:.3f}" for on in ("fast", "reference"))
    rows += [
        ("spikes per neuron and sample", f"{results['spikes_per_neuron']:.2f}"),
        (
            "parameters, integer weights, relays",
            f"{graph['parameters']:,}, {graph['weights']:,}, {graph['relays']}",
        ),
        (
            f"training, {len(training['epochs'])} epochs",
            f"{training['seconds'] / 60:.0f} min, {where}",
        ),
        (
            "seconds per sample: fast, reference, Lava CPU",
            f"{each}, {engines['lava-cpu']['seconds_per_sample']:.2f}",
        ),
    ]
    return "\n".join(["| measured | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


@click.command()
@click.argument("names", nargs=-1)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/zoo"))
@click.option("--lava", default=20, show_default=True, help="Samples that run on Lava CPU.")
def main(names: tuple[str, ...], runs: Path, lava: int) -> None:
    """Remake the models NAMES, or all of them."""
    known = sorted(p.parent.name for p in MODELS.glob("*/recipe.toml"))
    known.remove(DEMO)
    for name in names or known:
        if name not in known:
            raise click.UsageError(f"no model {name!r}; known: {', '.join(known)}")
        remake(MODELS / name, runs, lava)
        write_table(MODELS / "README.md", listing(MODELS))


if __name__ == "__main__":
    main()
