"""The command ``run``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuroport.cli.inputs import check_cluster, engine_for, opened
from neuroport.cli.options import (
    OnEngines,
    cluster_option,
    json_option,
    samples_option,
    shard_option,
    shards_option,
    timing_options,
)
from neuroport.cli.output import Out
from neuroport.cli.paths import OutFile, any_path

if TYPE_CHECKING:
    from neuroport.runs.totals import Totals
    from neuroport.runs.trace import Trace


@click.command(cls=OnEngines)
@click.argument("network", type=any_path)
@click.option(
    "--frames", type=any_path, required=True, help=".npy array (T, N, C, H, W) of integers."
)
@click.option("--on", "engine", help="Engine; `reference` by default, a folder's own module.")
@click.option("-o", "--out", type=OutFile("a trace", ".trace"), help="Trace file to write.")
@samples_option
@shard_option
@cluster_option
@shards_option
@click.option("--labels", type=any_path, help=".npy array (N,) of classes, to print the accuracy.")
@timing_options
@json_option
def run(
    network: Path,
    frames: Path,
    engine: str | None,
    out: Path | None,
    samples: int | None,
    shard: str | None,
    cluster: str | None,
    shards: int | None,
    labels: Path | None,
    timing: dict[str, Any],
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Run NETWORK (.net, .graph, or a training folder) on frames and record every population.

    Samples run in parts, so that memory does not grow with their number. With --record counts, only
    the number of messages per sample and every step of readouts are kept. With --cluster, workers
    run the samples; after an interruption the same command continues from the shards in OUT.shards.
    """
    from neuroport.analysis.labels import check_labels
    from neuroport.engines.streaming import in_parts
    from neuroport.reporting.progress import cluster_progress, progress_bar
    from neuroport.runs.accuracy import load_labels
    from neuroport.runs.frames import load_frames
    from neuroport.runs.merging import whole_provenance
    from neuroport.runs.shards import samples_of
    from neuroport.runs.totals import Totals, labels_for
    from neuroport.runs.trace_file import TraceWriter

    truth = load_labels(labels) if labels is not None else None
    name = engine_for(engine, network if network.is_dir() else None, options)
    check_cluster(cluster, shards, shard, out)
    data = load_frames(frames, samples, mapped=True)
    chosen, told = samples_of(shard, data)
    about = f"{labels}: "
    totals = Totals(None if truth is None else labels_for(truth, chosen, about), about)
    if totals.labels is not None:
        check_labels(totals.labels, None, about, chosen.start)

    def add(trace: Trace) -> None:
        if totals.labels is not None:
            done = totals.samples
            check_labels(totals.labels[done:], trace, about, chosen.start + done)
        totals.add(trace)

    if cluster is not None:
        from neuroport.scale.runs import record

        assert out is not None
        with cluster_progress(cluster) as progress:
            stored = record(
                opened(network),
                data,
                out,
                name,
                cluster=cluster,
                shards=shards,
                progress=progress,
                **options,
                **timing,
            )
        with stored:
            for trace in stored.parts():
                add(trace)
        provenance = stored.provenance
        written: Path | None = stored.path
    else:
        done: list[dict[str, Any]] = []
        with ExitStack() as stack:
            writer = None
            if out is not None:
                writer = stack.enter_context(TraceWriter(out, chosen.stop - chosen.start))
            progress = stack.enter_context(progress_bar(name))
            for trace in in_parts(
                opened(network), data, name, samples=chosen, progress=progress, **options, **timing
            ):
                add(trace)
                done.append(trace.provenance)
                if writer is not None:
                    writer.append(trace)
            provenance = whole_provenance(done, data[:, chosen], told)
            written = None if writer is None else writer.finish(provenance)
    say = Out(as_json)
    result: dict[str, Any] = {"samples": totals.samples, "provenance": provenance}
    _say_sent(say, totals, provenance, result)
    if "hardware" in provenance:
        _say_hardware(say, provenance["hardware"])
    if totals.counters:
        result["counts"] = _say_counts(say, totals)
    if written is not None:
        say.line(f"wrote {written}")
        result["trace"] = str(out)
    answer = totals.classes
    if answer is not None:
        for line in answer.lines():
            say.line(line)
        result |= answer.to_dict()
    say.result(result)


def _say_sent(out: Out, totals: Totals, provenance: dict[str, Any], result: dict[str, Any]) -> None:
    """Print the total number of messages, the engine, and any processes that are not Lava's own."""
    from neuroport.runs.trace import is_spiking

    spikes = {n: count for n, count in totals.sent.items() if is_spiking(totals.kinds[n])}
    graded = {n: count for n, count in totals.sent.items() if n not in spikes}
    sums = [f"{sum(spikes.values()):,} spikes"] if spikes or not graded else []
    sums += [f"{sum(graded.values()):,} graded messages"] if graded else []
    fused = " (fused processes)" if provenance.get("processes") == "fused" else ""
    seconds = provenance.get("seconds")  # engines of other packages may leave it out
    lasted = f", {seconds:.1f} s" if isinstance(seconds, (int, float)) else ""
    shard = f", shard {told['number']}/{told['of']}" if (told := provenance.get("shard")) else ""
    out.line(
        f"{provenance.get('engine', 'engine not told')}{fused}{shard}: {totals.samples} samples, "
        f"{len(totals.kinds)} populations, {', '.join(sums)}{lasted}"
    )
    result |= {"spikes": spikes, "graded": graded}


def _say_hardware(out: Out, hardware: dict[str, Any]) -> None:
    """Print what was measured, and doubts about it."""
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
    if "not_measured" in hardware:
        out.line(f"not measured: {hardware['not_measured']}")


def _say_counts(out: Out, totals: Totals) -> dict[str, Any]:
    """Print a line for each counted population, and return the same as data."""
    found = {
        name: {
            "counters": counters,
            "messages": totals.sent[name],
            "most": totals.most[name],
            "per_sample": totals.sent[name] / totals.samples,
        }
        for name, counters in totals.counters.items()
    }
    width = max(map(len, found))
    for name, row in found.items():
        out.line(
            f"{name:{width}} {totals.kinds[name]:10} {row['messages']:>12,} messages, "
            f"{row['per_sample']:,.1f} per sample, at most {row['most']:,} at one of "
            f"{row['counters']:,} counters (a counter per {totals.granularity})"
        )
    return found
