"""Draw raster plots: the spikes of a population's neurons in each step of one sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from neuroport.reporting.svg import child, markup, picture
from neuroport.runs.trace import Trace, is_spiking

ROWS = 60  # neurons drawn of one population
PANELS = 16  # populations drawn
CELL_HEIGHT = 3


@dataclass(frozen=True, slots=True)
class Panel:
    """One population of one sample.

    Attributes:
        name: the population.
        neurons: number of its neurons; ``drawn`` of them, evenly spaced, are rows of the plot.
        spikes: number of all its spikes in the sample.
        svg: the plot.
    """

    name: str
    neurons: int
    drawn: int
    spikes: int
    svg: Markup


def rasters(trace: Trace, sample: int = 0) -> tuple[Panel, ...]:
    """Return panels of the spiking populations in trace order, at most ``PANELS``.

    Counts have no steps to draw.
    """
    names = [n for n, kind in trace.kinds.items() if is_spiking(kind) and n in trace.messages]
    return tuple(_panel(trace, names[i], sample) for i in evenly(len(names), PANELS))


def _panel(trace: Trace, name: str, sample: int) -> Panel:
    spikes = trace[name][:, sample].reshape(len(trace[name]), -1) != 0
    steps, neurons = spikes.shape
    rows = evenly(neurons, ROWS)
    cell = max(3, min(40, 180 // steps))
    width, height = cell * steps, CELL_HEIGHT * len(rows)
    label = f"{name}: {int(spikes[:, rows].sum())} spikes of {len(rows)} neurons in {steps} steps"
    svg = picture(width + 2, height + 18, label, "raster")
    child(svg, "rect", x=0.5, y=0.5, width=width + 1, height=height + 1, class_="field")
    for step in range(1, steps if cell >= 8 else 1):
        x = step * cell + 1
        child(svg, "line", x1=x, y1=1, x2=x, y2=height + 1, class_="row")
    marks = [
        f"M{1 + step * cell + gap} {1 + row * CELL_HEIGHT}h{cell - 2 * gap}v2h-{cell - 2 * gap}z"
        for gap in (1 if cell >= 8 else 0,)
        for row, step in np.argwhere(spikes[:, rows].T)
    ]
    child(svg, "path", d="".join(marks), class_="mark")
    every = -(-28 // cell)  # labels stand at least 28 px apart
    for step in range(0, steps, every):
        x = step * cell + 1 + cell / 2
        child(svg, "text", str(step), x=x, y=height + 15, text_anchor="middle", class_="muted")
    return Panel(name, neurons, len(rows), int(spikes.sum()), markup(svg))


def evenly(count: int, most: int) -> list[int]:
    """Return up to ``most`` evenly spaced numbers below ``count``, including first and last."""
    return [int(i) for i in np.linspace(0, count - 1, min(count, most)).round()]
