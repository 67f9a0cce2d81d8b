"""Totals of a run, added up part by part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from neuroport.errors import FramesError
from neuroport.runs.accuracy import Classes, classes
from neuroport.runs.trace import Trace, is_readout


@dataclass
class Totals:
    """Messages and classes of all samples so far.

    Attributes:
        kinds: kind of each population.
        sent: nonzero messages of each population except the readouts.
        most: the largest count of each counted population; ``counters``: its number of counters.
        labels: true classes (N,) of all samples, or None.
    """

    labels: npt.NDArray[Any] | None = None
    about: str = ""
    samples: int = 0
    granularity: str = "neuron"
    kinds: dict[str, str] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    _classes: list[Classes | None] = field(default_factory=list)

    def add(self, part: Trace) -> None:
        """Add the next samples.

        Raises:
            FramesError: there are fewer labels than samples, or the run has no single answer.
        """
        self.kinds, self.granularity = part.kinds, part.granularity
        for name, kind in part.kinds.items():
            if not is_readout(kind):
                self.sent[name] = self.sent.get(name, 0) + part.sent(name)
        for name, counts in part.counts.items():
            self.most[name] = max(self.most.get(name, 0), int(counts.max()))
            self.counters[name] = int(counts[0].size)
        truth = None
        if self.labels is not None:
            truth = self.labels[self.samples : self.samples + part.samples]
        self._classes.append(classes(part, truth, self.about))
        self.samples += part.samples

    @property
    def classes(self) -> Classes | None:
        """Return the classes of all samples; None if no population gives an answer."""
        found = [each for each in self._classes if each is not None]
        if len(found) != len(self._classes) or not found:
            return None
        return Classes(
            found[0].population,
            found[0].readout,
            tuple(guess for each in found for guess in each.predictions),
            sum(each.ties for each in found),
            None if self.labels is None else sum(each.correct or 0 for each in found),
        )


def labels_for(labels: npt.NDArray[Any], samples: slice, about: str = "") -> npt.NDArray[Any]:
    """Return the labels of some samples.

    Raises:
        FramesError: there are fewer labels.
    """
    if len(labels) < samples.stop:
        raise FramesError(f"{about}{len(labels)} labels for {samples.stop} samples")
    return labels[samples]
