"""A figure of each study, from its JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from examples.studies.converged import NETWORKS
from examples.studies.plan import DEEP, DORMANT, INTEGER, LEVELS, projects
from neuroport.files import read_json

LABELS = {
    "plain": "plain",
    "tdbn": "STBP-tdBN",
    "sew": "SEW-ADD",
    "ms": "MS-ResNet",
    "ms-opened": "MS, last norms at 0.5",
    "ds1": "DS-ResNet, K = 1",
    "ds2": "DS-ResNet, K = 2",
    "ds3": "DS-ResNet, K = 3",
    "ds4": "DS-ResNet, K = 4",
    **{f"vanilla{levels}": f"vanilla, K = {levels}" for levels in (1, 2, 3, 4)},
    "da-membrane-stage": "DA membrane, stage",
    "da-membrane-network": "DA membrane, network",
    "da-spike-network": "DA spike, network",
}
# rows of the study of shortcuts
LOWERED = {
    "ms": "MS-ResNet",
    "da-membrane-stage": "MS-ResNet, projections read spikes",
    "sew": "SEW-ADD",
    "sew-again": "SEW-ADD, another training",
    "ds3": "DS-ResNet, K = 3 (events, T = 6)",
}
PALETTE = (
    *("black", "tab:orange", "tab:green", "tab:red", "tab:pink", "tab:cyan", "deepskyblue"),
    *("tab:blue", "navy", "navajowhite", "sandybrown", "chocolate", "saddlebrown"),
    *("tab:purple", "mediumorchid", "tab:olive"),
)
COLOURS = dict(zip(LABELS, PALETTE, strict=True))
ISOMETRY_SHOWN = 56  # layers
PLAIN = {"svg.hashsalt": "studies", "font.size": 10, "axes.grid": True, "grid.alpha": 0.3}


def draw(folder: Path, study: str) -> Path:
    """Write ``<study>.svg`` beside the JSON; the same JSON gives the same picture."""
    found = read_json(folder / f"{study}.json")
    path = folder / f"{study}.svg"
    with plt.rc_context(PLAIN):
        figure = FIGURES[study](found)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
    return path


def _along_depth(
    found: dict[str, Any], key: str, label: str, networks: Sequence[str] = DEEP
) -> tuple[Any, Any]:
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for network in networks:
        rows = [s for s in found["summary"].values() if s["network"] == network]
        rows.sort(key=lambda row: row["depth"])
        rows = [row for row in rows if key in row]  # a loss may be no number
        axes.errorbar(
            [row["depth"] for row in rows],
            [row[key]["mean"] for row in rows],
            [row[key]["deviation"] for row in rows],
            marker="o",
            capsize=3,
            label=LABELS[network],
            color=COLOURS[network],
            linestyle="--" if network.startswith("vanilla") else "-",
        )
    axes.set_xscale("log")
    depths = sorted({s["depth"] for s in found["summary"].values()})
    axes.set_xticks(depths, [str(d) for d in depths])
    axes.minorticks_off()
    axes.set_xlabel("layers")
    axes.set_ylabel(label)
    return figure, axes


def _depth(found: dict[str, Any]) -> Any:
    figure, axes = _along_depth(found, "accuracy", "held-out digits right, %")
    axes.set_ylim(0, 100)
    axes.legend(fontsize=8)
    return figure


def _spikes(found: dict[str, Any]) -> Any:
    figure, axes = _along_depth(found, "spikes_per_neuron", "spikes per neuron and sample")
    axes.axhline(1, color="grey", linestyle="--", linewidth=1)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return figure


def _dormant(found: dict[str, Any]) -> Any:
    depths = sorted({s["depth"] for s in found["summary"].values()})
    figure, pair = plt.subplots(1, 2, figsize=(8, 3.6))
    for axes, key, title in zip(
        pair,
        ("dormant", "blocked"),
        ("never fire on the held-out digits", "outside of every surrogate's window"),
        strict=True,
    ):
        for index, network in enumerate(DORMANT):
            rows = [found["summary"].get(f"{network}-{depth}") for depth in depths]
            axes.bar(
                [at + 0.27 * (index - 1) for at, row in enumerate(rows) if row],
                [100 * row[key]["mean"] for row in rows if row],
                0.25,
                yerr=[100 * row[key]["deviation"] for row in rows if row],
                capsize=3,
                color=COLOURS[network],
                label=LABELS[network],
            )
        axes.set_xticks(range(len(depths)), [f"{depth} layers" for depth in depths])
        axes.set_title(title, fontsize=10)
        axes.set_ylabel("% of the neurons" if key == "dormant" else "% of the neurons' steps")
    pair[0].legend(fontsize=8)
    return figure


def _levels(found: dict[str, Any]) -> Any:
    """Accuracy and blocked neurons by number of levels, of both blocks, at both depths."""
    depths = sorted({s["depth"] for s in found["summary"].values()})
    figure, pair = plt.subplots(1, 2, figsize=(9, 3.8))
    shown = (("accuracy", 1, "held-out digits right, %"), ("blocked", 100, "blocked, %"))
    for axes, (key, factor, title) in zip(pair, shown, strict=True):
        for block, colour in (("ds", "tab:blue"), ("vanilla", "chocolate")):
            for depth, style in zip(depths, ("-", "--"), strict=False):
                names = [name for name in LEVELS if name.startswith(block)]
                rows = [found["summary"].get(f"{name}-{depth}") for name in names]
                axes.errorbar(
                    [at for at, row in enumerate(rows, 1) if row],
                    [factor * row[key]["mean"] for row in rows if row],
                    [factor * row[key]["deviation"] for row in rows if row],
                    marker="o",
                    capsize=3,
                    color=colour,
                    linestyle=style,
                    label=f"{block}, {depth} layers",
                )
        axes.set_xticks((1, 2, 3, 4))
        axes.set_xlabel("levels K")
        axes.set_ylabel(title)
    pair[0].legend(fontsize=8)
    return figure


def _integer(found: dict[str, Any]) -> Any:
    """Accuracy over synaptic operations, a point for each width."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for (levels, steps), colour in zip(INTEGER, ("black", "tab:orange", "tab:blue"), strict=True):
        rows = [s for n, s in found["summary"].items() if n.startswith(f"k{levels}-t{steps}-")]
        rows.sort(key=lambda row: row["operations"]["mean"])
        axes.errorbar(
            [row["operations"]["mean"] / 1e6 for row in rows],
            [row["accuracy"]["mean"] for row in rows],
            [row["accuracy"]["deviation"] for row in rows],
            [row["operations"]["deviation"] / 1e6 for row in rows],
            marker="o",
            capsize=3,
            color=colour,
            label=f"0 to {levels} spikes at each of {steps} steps",
        )
    axes.set_xscale("log")
    axes.set_xlabel("synaptic operations of a sample, millions")
    axes.set_ylabel("held-out digits right, %")
    axes.legend(fontsize=8)
    return figure


def _equal(found: dict[str, Any]) -> Any:
    figure, axes = plt.subplots(figsize=(7, 3.2))
    rows = sorted(found["summary"].values(), key=lambda row: row["accuracy"]["mean"])
    for at, row in enumerate(rows):
        name = row["network"]
        each = [run["accuracy"] for run in found["runs"] if run["network"] == name]
        axes.plot(each, [at] * len(each), "o", color=COLOURS[name], alpha=0.6)
        axes.plot([row["accuracy"]["mean"]], [at], "|", color="black", markersize=16)
    axes.set_yticks(range(len(rows)), [LABELS[row["network"]] for row in rows])
    axes.set_xlabel("held-out digits right, % (a dot per seed, a line at the mean)")
    return figure


def _gradients(found: dict[str, Any]) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6))
    deepest = max(run["depth"] for run in found["runs"])
    runs = {run["network"]: run for run in found["runs"] if run["depth"] == deepest}
    for name in LABELS:
        if name in runs:
            signal = runs[name]["signal"]
            relative = [norm / signal[-1] if norm else float("nan") for norm in signal]
            style = {"color": COLOURS[name], "linestyle": "--" if name == "ms-opened" else "-"}
            left.plot(range(1, len(signal) + 1), relative, linewidth=1.2, **style)
            rows = [s for s in found["summary"].values() if s["network"] == name]
            rows = sorted((r for r in rows if "decades" in r), key=lambda row: row["depth"])
            right.errorbar(
                [row["depth"] for row in rows],
                [row["decades"]["mean"] for row in rows],
                [row["decades"]["deviation"] for row in rows],
                marker="o",
                markersize=4,
                capsize=2,
                label=LABELS[name],
                **style,
            )
    left.set_yscale("log")
    left.set_xlabel(f"block of {deepest} layers, first to last")
    left.set_ylabel("gradient norm / that of the last block")
    right.set_xscale("log")
    depths = sorted({run["depth"] for run in found["runs"]})
    right.set_xticks(depths, [str(d) for d in depths])
    right.minorticks_off()
    right.set_xlabel("layers")
    right.set_ylabel("log10 of first / last block")
    right.legend(fontsize=7)
    return figure


def _isometry(found: dict[str, Any]) -> Any:
    """phi of every block after training, and its mean from epoch to epoch, at one depth."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4))
    depth, epochs = ISOMETRY_SHOWN, found["settings"]["epochs"]
    runs = [run for run in found["runs"] if run["depth"] == depth]
    for name in dict.fromkeys(run["network"] for run in runs):
        style = {"color": COLOURS[name], "label": LABELS[name]}
        own = [run for run in runs if run["network"] == name]
        phi = own[0]["epochs"][-1]["phi"]
        left.plot(range(1, len(phi) + 1), phi, marker=".", linewidth=1.2, **style)
        means = [[_mean_phi(run, epoch) for run in own] for epoch in range(epochs + 1)]
        deviations = [statistics.stdev(each) if len(own) > 1 else 0.0 for each in means]
        right.errorbar(
            range(epochs + 1),
            [statistics.fmean(each) for each in means],
            deviations,
            marker="o",
            markersize=4,
            capsize=2,
            **style,
        )
    for axes in (left, right):
        axes.axhline(1, color="grey", linestyle="--", linewidth=1)
        axes.set_yscale("log")
    left.set_xlabel(f"block of {depth} layers, first to last")
    left.set_ylabel(f"phi after {epochs} epochs")
    right.set_xticks(range(epochs + 1))
    right.set_xlabel("epochs of training")
    right.set_ylabel("phi, mean over blocks that keep the shape")
    right.legend(fontsize=8)
    return figure


def _mean_phi(run: dict[str, Any], epoch: int) -> float:
    phi = run["epochs"][epoch]["phi"]
    apart = projects(run["depth"])
    return statistics.fmean(value for block, value in enumerate(phi) if block not in apart)


def _shortcuts(found: dict[str, Any]) -> Any:
    """Messages between cores, by sort, and cores."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True)
    runs = {run["network"]: run for run in found["runs"]}
    names = [name for name in LOWERED if name in runs][::-1]
    spikes, graded = (
        [runs[name][f"{sort}_between"] / 1e3 for name in names] for sort in ("spikes", "graded")
    )
    left.barh(names, spikes, color="tab:blue", label="spikes")
    left.barh(names, graded, left=spikes, color="tab:orange", label="graded messages")
    left.set_xlabel("messages between cores per step, thousands")
    left.legend(fontsize=8)
    right.barh(names, [runs[name]["cores"] for name in names], color="tab:grey")
    right.set_xlabel("cores, by the project's estimate")
    left.set_yticks(range(len(names)), [LOWERED[name] for name in names])
    return figure


def _converged(found: dict[str, Any]) -> Any:
    figure, axes = _along_depth(found, "loss", "training loss of the last epoch", NETWORKS)
    axes.set_yscale("log")  # the losses of those that learn differ by little
    axes.set_yticks(ticks := [0.03, 0.1, 0.3, 1, 3], map(str, ticks))
    axes.minorticks_off()
    axes.legend(fontsize=8)
    return figure


FIGURES = {
    "depth": _depth,
    "converged": _converged,
    "spikes": _spikes,
    "dormant": _dormant,
    "levels": _levels,
    "integer": _integer,
    "equal": _equal,
    "gradients": _gradients,
    "isometry": _isometry,
    "shortcuts": _shortcuts,
}
