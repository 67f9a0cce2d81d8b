"""The verb ``run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuroport.cli.inputs import run_on
from neuroport.cli.options import (
    OnEngines,
    any_path,
    json_option,
    out_file,
    samples_option,
    timing_options,
)
from neuroport.cli.output import Out

if TYPE_CHECKING:
    from neuroport.runs.trace import Trace


@click.command(cls=OnEngines)
@click.argument("network", type=any_path)
@click.option(
    "--frames", type=any_path, required=True, help=".npy array (T, N, C, H, W) of integers."
)
@click.option("--on", "engine", help="Engine; `reference` by default, a folder's own module.")
@click.option("-o", "--out", type=out_file, help="Trace file to write.")
@samples_option
@click.option("--labels", type=any_path, help=".npy array (N,) of classes, to print the accuracy.")
@timing_options
@json_option
def run(
    network: Path,
    frames: Path,
    engine: str | None,
    out: Path | None,
    samples: int | None,
    labels: Path | None,
    timing: dict[str, bool],
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Run NETWORK (.net, .graph, or a training folder) on frames and record every population.

    With --record counts only the number of messages per sample is kept, and every step of readouts.
    """
    from neuroport.runs.accuracy import classes, load_labels

    truth = load_labels(labels) if labels is not None else None
    trace = run_on(network, frames, engine, samples, options, timing)
    say = Out(as_json)
    result: dict[str, Any] = {"samples": trace.samples, "provenance": trace.provenance}
    _say_sent(say, trace, result)
    if "hardware" in trace.provenance:
        _say_hardware(say, trace.provenance["hardware"])
    if trace.counts:
        result["counts"] = _say_counts(say, trace)
    if out is not None:
        say.line(f"wrote {trace.save(out)}")
        result["trace"] = str(out)
    answer = classes(trace, truth, about=f"{labels}: ")
    if answer is not None:
        for line in answer.lines():
            say.line(line)
        result |= answer.to_dict()
    say.result(result)


def _say_sent(out: Out, trace: Trace, result: dict[str, Any]) -> None:
    """How much was sent in all, and where: which processes, if they are not Lava's own."""
    from neuroport.runs.trace import is_readout, is_spiking

    sent = {n: trace.sent(n) for n, kind in trace.kinds.items() if not is_readout(kind)}
    spikes = {n: count for n, count in sent.items() if is_spiking(trace.kinds[n])}
    graded = {n: count for n, count in sent.items() if n not in spikes}
    sums = [f"{sum(spikes.values()):,} spikes"] if spikes or not graded else []
    sums += [f"{sum(graded.values()):,} graded messages"] if graded else []
    fused = " (fused processes)" if trace.provenance.get("processes") == "fused" else ""
    out.line(
        f"{trace.provenance['engine']}{fused}: {trace.samples} samples, "
        f"{len(trace.kinds)} populations, {', '.join(sums)}, {trace.provenance['seconds']:.1f} s"
    )
    result |= {"spikes": spikes, "graded": graded}


def _say_hardware(out: Out, hardware: dict[str, Any]) -> None:
    """What was measured, and what speaks against it."""
    out.line(hardware["status"])
    if "measurement" in hardware:
        found = hardware["measurement"]
        out.line(
            f"{found['label']}: {found['total_w']:.3g} W (static {found['static_w']:.3g}, dynamic "
            f"{found['dynamic_w']:.3g}), {1e6 * found['sample_s']:,.1f} us and "
            f"{found['total_uj']:,.1f} uJ a sample (dynamic {found['dynamic_uj']:,.1f})"
        )
        for doubt in found["doubts"]:
            out.line(f"doubt: {doubt}")


def _say_counts(out: Out, trace: Trace) -> dict[str, Any]:
    """A line for each population that was counted, and the same as data."""
    found = {
        name: {
            "counters": int(counts[0].size),
            "messages": trace.sent(name),
            "most": int(counts.max()),
            "per_sample": trace.sent(name) / trace.samples,
        }
        for name, counts in trace.counts.items()
    }
    width = max(map(len, found))
    for name, row in found.items():
        out.line(
            f"{name:{width}} {trace.kinds[name]:10} {row['messages']:>12,} messages, "
            f"{row['per_sample']:,.1f} per sample, at most {row['most']:,} at one of "
            f"{row['counters']:,} counters (a counter per {trace.granularity})"
        )
    return found
