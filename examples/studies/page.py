"""Figure and table of each study in docs/studies.md, between its markers, from its JSON."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.studies import converged
from examples.studies.claims import STUDIES, claims_table
from examples.studies.figures import LABELS, LOWERED
from neuroport.files import read_json, write_atomic

Row = dict[str, Any]


def write_page(page: Path, folder: Path) -> None:
    """Replace the tables of every study that ``folder`` holds."""
    write_atomic(page, with_tables(page.read_text(), folder))


def with_tables(text: str, folder: Path) -> str:
    """The page's text with the tables that the JSON files of ``folder`` give."""
    for study in TABLES:
        path = folder / f"{study}.json"
        if path.exists():
            picture = f"![{PICTURES[study]}]({folder.name}/{study}.svg)"
            text = _between(text, study, f"{picture}\n\n{TABLES[study](read_json(path))}")
    if all((folder / f"{study}.json").exists() for study in STUDIES):
        text = _between(text, "claims", claims_table(folder))
    others = folder.parent / "constructions.json"
    if others.exists():
        text = _between(text, "projections", _projections(read_json(others)))
    return text


def _between(text: str, name: str, content: str) -> str:
    """The text with ``content`` between the markers of that name, if it has them."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{content}\n{end}", text)


def _grid(found: dict[str, Any], cell: Callable[[Row], str]) -> str:
    """Networks down, depths across."""
    rows = found["summary"].values()
    depths = sorted({row["depth"] for row in rows})
    names = [name for name in LABELS if any(row["network"] == name for row in rows)]
    lines = [["layers", *map(str, depths)]]
    for name in names:
        cells = [found["summary"].get(f"{name}-{depth}") for depth in depths]
        lines.append([LABELS[name], *(cell(row) if row else "" for row in cells)])
    return f"{_markdown(lines)}\n\n{_seeds(found)}"


def _markdown(lines: list[list[str]]) -> str:
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _seeds(found: dict[str, Any]) -> str:
    numbers = sorted({row["seeds"] for row in found["summary"].values()})
    if numbers == [1]:
        return "One seed."
    if len(numbers) == 1:
        return f"Mean ± standard deviation of {numbers[0]} seeds."
    return (
        f"Mean ± standard deviation of {numbers[0]} to {numbers[-1]} seeds (in brackets where "
        f"fewer than {numbers[-1]})."
    )


def _spread(row: Row, key: str, digits: int, factor: float = 1.0) -> str:
    if key not in row:
        return "0 in float32"
    mean, deviation = (f"{factor * row[key][k]:.{digits}f}" for k in ("mean", "deviation"))
    return mean if row["seeds"] == 1 else f"{mean} ± {deviation}"


def _few(found: dict[str, Any], cell: Callable[[Row], str]) -> Callable[[Row], str]:
    most = max(row["seeds"] for row in found["summary"].values())
    return lambda row: cell(row) + (f" ({row['seeds']})" if row["seeds"] < most else "")


def _table(key: str, digits: int) -> Callable[[dict[str, Any]], str]:
    return lambda found: _grid(found, _few(found, lambda row: _spread(row, key, digits)))


def _dormant(found: dict[str, Any]) -> str:
    def cell(row: Row) -> str:
        return " / ".join(_spread(row, key, 1, 100.0) for key in ("dormant", "blocked"))

    right = _grid(found, _few(found, lambda row: _spread(row, "accuracy", 1)))
    return f"{_grid(found, _few(found, cell))}\n\nHeld-out digits right, %:\n\n{right}"


def _levels(found: dict[str, Any]) -> str:
    lines = [["layers", "network", "accuracy, %", "training loss", "dormant, %", "blocked, %"]]
    names = list(LABELS)
    rows = sorted(
        found["summary"].values(), key=lambda row: (row["depth"], names.index(row["network"]))
    )
    for row in rows:
        cells = [_spread(row, "accuracy", 1), _spread(row, "loss", 2)]
        cells += [_spread(row, key, 1, 100.0) for key in ("dormant", "blocked")]
        lines.append([str(row["depth"]), LABELS[row["network"]], *cells])
    return f"{_markdown(lines)}\n\n{_seeds(found)}"


def _integer(found: dict[str, Any]) -> str:
    lines = [
        [
            *("levels K", "steps T", "widths", "parameters", "accuracy, %", "training loss"),
            *("spikes per neuron", "synaptic operations, millions", "on a chip"),
            "with integers, %",
        ]
    ]
    about = {run["network"]: run for run in found["runs"]}
    rows = sorted(found["summary"].values(), key=lambda row: row["operations"]["mean"])
    for row in rows:
        run = about[row["network"]]
        lines.append(
            [
                *(str(run["levels"]), str(run["steps"]), ", ".join(map(str, run["widths"]))),
                f"{run['parameters']:,}",
                *(_spread(row, "accuracy", 1), _spread(row, "loss", 2)),
                *(_spread(row, "spikes_per_neuron", 2), _spread(row, "operations", 2, 1e-6)),
                _spread(row, "chip_operations", 2, 1e-6),
                _spread(row, "integer_accuracy", 1),
            ]
        )
    return f"{_markdown(lines)}\n\n{_seeds(found)}"


def _equal(found: dict[str, Any]) -> str:
    parameters = {run["network"]: run["parameters"] for run in found["runs"]}
    keys = (("accuracy", 1), ("loss", 2), ("spikes_per_neuron", 2))
    lines = [["20 layers", "parameters", "accuracy, %", "training loss", "spikes per neuron"]]
    for row in sorted(found["summary"].values(), key=lambda row: -row["accuracy"]["mean"]):
        cells = [_spread(row, key, digits) for key, digits in keys]
        lines.append([LABELS[row["network"]], f"{parameters[row['network']]:,}", *cells])
    return f"{_markdown(lines)}\n\n{_seeds(found)}"


def _isometry(found: dict[str, Any]) -> str:
    last = found["settings"]["epochs"]
    lines = [
        [
            *("layers", "network", "phi before", "after", "variance before", "after"),
            *("growth before", "by phi", "after", "by phi", "accuracy, %"),
        ]
    ]
    names = list(LABELS)
    rows = sorted(
        found["summary"].values(), key=lambda row: (row["depth"], names.index(row["network"]))
    )
    label = _few(found, lambda row: LABELS[row["network"]])
    for row in rows:
        trained = f"phi_{last}" in row
        line = [str(row["depth"]), label(row)]
        for keys, digits in ((("phi",), 3), (("variance",), 2), (("growth", "predicted"), 2)):
            for epoch in (0, last):
                line += [
                    _spread(row, f"{key}_{epoch}", digits) if trained or not epoch else ""
                    for key in keys
                ]
        lines.append([*line, _spread(row, "accuracy", 1) if trained else ""])
    return f"{_markdown(lines)}\n\n{_seeds(found)} {_errors(found)}"


def _errors(found: dict[str, Any]) -> str:
    """How exact the estimates of a single block are."""
    epochs = [epoch for run in found["runs"] for epoch in run["epochs"]]
    worst = {
        key: max(
            error / value
            for epoch in epochs
            for value, error in zip(epoch[key], epoch[f"{key}_error"], strict=True)
            if value > 0.01
        )
        for key in ("phi", "variance")
    }
    return (
        f"{found['settings']['probes']} probes; standard error of a single block and run at most "
        f"{100 * worst['phi']:.1f} % for phi, {100 * worst['variance']:.0f} % for a variance "
        "above 0.01."
    )


def _shortcuts(found: dict[str, Any]) -> str:
    lines = [
        [
            *("20 layers, T = 4 unless told", "accuracy, %: real", "integers", "cores", "chips"),
            *("neurons", "of these relays", "spikes between cores per step", "graded", "both"),
            *("operations per step", "slowest step, us", "sample alone, us"),
            *("45 nm arithmetic, nJ", "Loihi 1, nJ"),
        ]
    ]
    runs = {run["network"]: run for run in found["runs"]}
    for name, label in LOWERED.items():
        run = runs.get(name)
        if run is not None:
            both = run["spikes_between"] + run["graded_between"]
            numbers = [run["cores"], run["chips"], run["neurons"], run["relay_neurons"]]
            numbers += [run["spikes_between"], run["graded_between"], both, run["operations"]]
            numbers += [run["slowest_step_us"], run["latency_us"]]
            numbers += [run["arithmetic_45nm_nj"], run["loihi1_nj"]]
            accuracies = [f"{run[key]:.1f}" for key in ("real_accuracy", "accuracy")]
            lines.append([label, *accuracies, *(f"{number:,.0f}" for number in numbers)])
    return f"{_markdown(lines)}\n\nOne training each, {found['settings']['samples']} samples."


def _projections(found: dict[str, Any]) -> str:
    """Projections of real values and of spikes, of the same networks."""
    lines = [
        [
            *("network", "stem", "projections read", "trained again, epochs", "accuracy, %"),
            *("cores", "messages between cores per sample", "slowest step, us"),
            "relays that round",
        ]
    ]
    for network in ("ms_resnet8_mnist", "ms_resnet20_mnist"):
        for stem, suffix in (("as published", ""), ("coarse", ", coarse stem")):
            for kind, reads in (("published", "currents"), ("spike", "spikes")):
                row = found[network][kind + suffix]
                board, epochs = row["board"], row["epochs"]
                lines.append(
                    [
                        *(network, stem, reads, f"{epochs['real']} + {epochs['integer']}"),
                        *(f"{row['accuracy']:.1f}", f"{board['cores']:,}"),
                        *(f"{board['between_cores']:,.0f}", f"{board['slowest_step_us']:,.0f}"),
                        f"{board['rounding']}",
                    ]
                )
    return _markdown(lines)


def _converged(found: dict[str, Any]) -> str:
    summary, runs = found["summary"], found["runs"]
    lines = [
        [
            *("network", "rate", *(f"loss, {depth} layers" for depth in converged.DEPTHS)),
            *(f"accuracy, {depth} layers, %" for depth in converged.DEPTHS),
            "loss, 110 less 20 layers",
            "loss less MS-ResNet's, 110 layers",
        ]
    ]
    for name in converged.NETWORKS:
        rows = [summary.get(f"{name}-{depth}") for depth in converged.DEPTHS]
        rates = {run["rate"] for run in runs if run["network"] == name}
        if not rates:
            continue
        cells = [
            _few(found, lambda row, key=key, digits=digits: _spread(row, key, digits))(row)  # type: ignore[misc]
            if row
            else ""
            for key, digits in (("loss", 3), ("accuracy", 1))
            for row in rows
        ]
        pairs = [converged.paired(runs, (name, 110), other) for other in ((name, 20), ("ms", 110))]
        if name == "ms":
            pairs[1] = []
        lines.append([LABELS[name], f"{rates.pop():g}", *cells, *map(_difference, pairs)])
    text = f"{_markdown(lines)}\n\n{_seeds(found)}"
    deepest = summary.get("-".join(map(str, converged.DEEPEST)))
    if deepest is not None:
        text += (
            f" MS-ResNet with {converged.DEEPEST[1]} layers, one seed: loss "
            f"{_spread(deepest, 'loss', 3)}, accuracy {_spread(deepest, 'accuracy', 1)} %."
        )
    return text


def _difference(values: list[float]) -> str:
    """Mean and standard deviation of differences seed by seed, and how many are above 0."""
    if not values:
        return ""
    told = f"{statistics.fmean(values):+.3f}"
    if len(values) > 1:
        told += f" ± {statistics.stdev(values):.3f}"
    return f"{told} ({sum(value > 0 for value in values)} of {len(values)} above 0)"


PICTURES = {
    "gradients": "Gradient norm along the blocks, and first over last block at every depth",
    "depth": "Accuracy at every depth",
    "converged": "Training loss at every depth after 20 epochs, by family",
    "dormant": "Dormant and blocked neurons with one, two and three levels",
    "spikes": "Spikes per neuron and sample at every depth",
    "levels": "Accuracy and blocked neurons with one to four levels",
    "integer": "Accuracy over synaptic operations",
    "equal": "Accuracy of five equally large networks",
    "isometry": "phi of every block after training, and its mean from epoch to epoch",
    "shortcuts": "Messages between cores and cores of the trained networks",
}
TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "gradients": _table("decades", 2),
    "depth": _table("accuracy", 1),
    "converged": _converged,
    "dormant": _dormant,
    "spikes": _table("spikes_per_neuron", 2),
    "levels": _levels,
    "integer": _integer,
    "equal": _equal,
    "isometry": _isometry,
    "shortcuts": _shortcuts,
}
