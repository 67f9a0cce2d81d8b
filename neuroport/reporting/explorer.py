"""The data of two runs in a page, for stepping through them without network access.

Messages are stored per sample as compressed text: spikes as bits, other messages as the smallest
integers, and for the second run only populations that differ. A page has a budget of bytes. If the
data do not fit, they are thinned evenly, and :attr:`Explorer.sampled` says so.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from neuroport.analysis.compare import Divergence, unequal_samples
from neuroport.errors import CompareError, printable
from neuroport.reporting.raster import evenly
from neuroport.runs.trace import Trace, narrowest

BUDGET = 3 << 20  # characters of all messages together
SAMPLES = 100  # at most
WANTED = 4  # samples worth thinning out channels for
# bytes of a population in a sample, and of how many populations one is kept, until they fit
STAGES = [(64 << 10, 1), (16 << 10, 1), (4 << 10, 1), *((1 << 10, 1 << n) for n in range(12))]


@dataclass(frozen=True)
class Explorer:
    """The data of a page, and what was omitted.

    Attributes:
        data: JSON that is safe in a script element.
        samples: numbers of the samples; ``populations``: number of populations.
        sampled: sentences that say what was omitted, and why.
    """

    data: Markup
    samples: tuple[int, ...]
    populations: int
    sampled: tuple[str, ...]


@dataclass(frozen=True)
class _Population:
    """One population: (T, N, *shape) in each run, None if a run did not record it."""

    name: str
    kind: str
    runs: tuple[npt.NDArray[Any] | None, ...]
    channels: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return next(run.shape[2:] for run in self.runs if run is not None)

    @property
    def dtype(self) -> str:
        """``bits``, or an integer type."""
        held = [run for run in self.runs if run is not None]
        if all(run.dtype.kind == "b" for run in held):
            return "bits"
        low, high = min(int(run.min()) for run in held), max(int(run.max()) for run in held)
        return "bits" if low >= 0 and high <= 1 else narrowest(low, high).name

    def unlike(self, sample: int) -> bool:
        """Whether the second run must be stored, too."""
        want, got = self.runs[0], self.runs[-1]
        if want is None or got is None:
            return True
        return not np.array_equal(want[:, sample], got[:, sample])

    def content(self, run: int, sample: int, dtype: str) -> bytes:
        """Return one sample, (T, channels, ...)."""
        array = self.runs[run]
        if array is None:
            return b""
        values = array[:, sample, list(self.channels)]
        return (np.packbits(values) if dtype == "bits" else values.astype(dtype)).tobytes()


def explorer(
    trace: Trace,
    got: Trace | None = None,
    *,
    frames: npt.NDArray[Any] | None = None,
    labels: npt.NDArray[Any] | None = None,
    first: Divergence | None = None,
) -> Explorer | None:
    """Choose what a page shows of one run or two; None if no run has messages.

    Args:
        frames: frames (T, N, *shape), shown as the first population.
        labels: the true classes (N,).
        first: where the runs first differ; always shown.
    """
    traces = [trace] if got is None else [trace, got]
    everything = list(_populations(traces, frames))
    if not everything:
        return None
    guesses = [_predictions(each) for each in traces]
    order = _order(traces, guesses, labels, first)
    for most, apart in STAGES:
        shown = _thinned(everything, most, apart, first)
        parts: list[dict[str, Any]] = []
        size = 0
        types = [population.dtype for population in shown]
        for sample in order:
            part = _part(shown, types, sample, len(traces))
            taken = len(part["want"]) + len(part.get("got", ""))
            if parts and size + taken > BUDGET:
                break
            parts.append(part)
            size += taken
        enough = len(parts) >= min(WANTED, len(order)) or most == STAGES[-1][0]
        if enough and size <= BUDGET:
            break
    parts.sort(key=lambda part: int(part["sample"]))
    for part in parts:
        at = part["sample"]
        part["label"] = None if labels is None else int(labels[at])
        part["classes"] = [None if guess is None else int(guess[at]) for guess in guesses]
    names = [population.name for population in shown]
    data = {
        "steps": trace.steps,
        "populations": [
            {
                "name": printable(population.name),
                "kind": population.kind,
                "shape": population.shape,
                "channels": population.channels,
                "type": dtype,
                "runs": [run is not None for run in population.runs],
            }
            for population, dtype in zip(shown, types, strict=True)
        ],
        "samples": parts,
        "first": None
        if first is None or first.population not in names
        else [first.sample, names.index(first.population), first.step, *first.neuron],
    }
    samples = tuple(int(part["sample"]) for part in parts)
    sampled = tuple(_sampled(everything, shown, samples, trace.samples, len(traces) > 1))
    return Explorer(Markup(_json(data)), samples, len(shown), sampled)


def _json(data: Any) -> str:
    """Return JSON that cannot end a script element or start a comment."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _populations(traces: Sequence[Trace], frames: npt.NDArray[Any] | None) -> Iterator[_Population]:
    steps = traces[0].steps
    if frames is not None:
        yield _Population("input", "frames", (np.asarray(frames),) * len(traces))
    for name in dict.fromkeys(name for trace in traces for name in trace.kinds):
        kinds = [trace.kinds[name] for trace in traces if name in trace.kinds]
        runs = tuple(trace.messages.get(name) for trace in traces)
        held = [run for run in runs if run is not None]
        # beside counts a readout may have been kept after the last step only
        if held and all(run.shape == (steps, *held[0].shape[1:]) for run in held):
            yield _Population(name, kinds[0], runs)


def _predictions(trace: Trace) -> npt.NDArray[np.int64] | None:
    try:
        return trace.predictions
    except CompareError:
        return None


def _order(
    traces: Sequence[Trace],
    guesses: Sequence[npt.NDArray[np.int64] | None],
    labels: npt.NDArray[Any] | None,
    first: Divergence | None,
) -> list[int]:
    """Return the samples, most informative first."""
    unlike = unequal_samples(*traces) if len(traces) > 1 else np.zeros(traces[0].samples, bool)
    wrong = np.zeros(len(unlike), bool)
    for guess in guesses:
        if guess is not None and labels is not None:
            wrong |= guess != labels[: len(guess)]
    ranks = [
        (first is None or sample != first.sample, not unlike[sample], not wrong[sample], sample)
        for sample in range(len(unlike))
    ]
    return [rank[-1] for rank in sorted(ranks)[:SAMPLES]]


def _thinned(
    everything: Sequence[_Population], most: int, apart: int, first: Divergence | None
) -> list[_Population]:
    """Return every ``apart``-th population, each with as many channels as fit ``most`` bytes."""
    shown = []
    for index, population in enumerate(everything):
        parted = first is not None and first.population == population.name
        if index % apart and not parted:
            continue
        (channels, *inside), dtype = population.shape, population.dtype
        steps = next(len(run) for run in population.runs if run is not None)
        bits = 1 if dtype == "bits" else 8 * np.dtype(dtype).itemsize
        each = max(1, bits * steps * math.prod(inside) // 8)
        kept = set(evenly(channels, max(1, most // each)))
        if parted and first is not None:
            kept.add(first.neuron[0])
        shown.append(replace(population, channels=tuple(sorted(kept))))
    return shown


def _part(
    shown: Sequence[_Population], types: Sequence[str], sample: int, runs: int
) -> dict[str, Any]:
    """Return one sample as text; for a second run, only the differing places in ``differ``."""
    pairs = list(zip(shown, types, strict=True))
    part: dict[str, Any] = {
        "sample": sample,
        "want": _packed(population.content(0, sample, dtype) for population, dtype in pairs),
    }
    if runs > 1:
        differ = [at for at, population in enumerate(shown) if population.unlike(sample)]
        part["differ"] = differ
        part["got"] = _packed(shown[at].content(1, sample, types[at]) for at in differ)
    return part


def _packed(contents: Iterator[bytes]) -> str:
    return base64.b64encode(zlib.compress(b"".join(contents), 9)).decode()


def _sampled(
    everything: Sequence[_Population],
    shown: Sequence[_Population],
    samples: Sequence[int],
    number: int,
    two: bool,
) -> Iterator[str]:
    """Yield sentences on what the page omits."""
    if len(samples) < number:
        first = "those in which the runs differ, then " if two else ""
        yield (
            f"The page holds {len(samples)} of {number:,} samples, so that it stays small: "
            f"{first}those taken for a wrong class where labels are known, then the first ones."
        )
    thin = [p for p in shown if len(p.channels) < p.shape[0]]
    if thin:
        yield (
            f"Of {len(thin)} large populations it holds some channels, evenly spaced; "
            "counts below are of those."
        )
    if len(shown) < len(everything):
        yield f"It holds {len(shown)} of {len(everything)} populations, evenly spaced."
