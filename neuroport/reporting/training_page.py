"""Show a training as a page: curves and maps of the metrics of its epochs, as SVG.

The page contains everything that it shows and reads no other resource. While a training is watched,
it regularly asks its own server for news.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from neuroport.errors import printable
from neuroport.reporting.svg import child, markup, picture
from neuroport.training.metrics import Epoch

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 330, 172, 46, 12, 18, 24  # of a curve, CSS pixels
COLUMNS, ROWS, CELL, LETTER = 60, 48, 15, 6.7  # of a map, at most; CSS pixels
EVERY = 2.0  # seconds after which a page asks again
Number = Callable[[float], str]


@dataclass(frozen=True)
class Chart:
    """A picture with title and description; ``note`` says what was omitted."""

    title: str
    said: str
    picture: Markup
    note: str = ""


def page(name: str, epochs: Sequence[Epoch], written: str = "", *, live: bool = False) -> str:
    """Return the complete page.

    Args:
        name: name of the run.
        written: time of its metrics, as text.
        live: whether the page asks for news; otherwise it has no script.
    """
    return _render("training_page.html.j2", name, epochs, written, live)


def body(name: str, epochs: Sequence[Epoch], written: str = "") -> str:
    """Return the changing part of the page: all but its head."""
    return _render("training_body.html.j2", name, epochs, written, True)


def failed(said: str) -> str:
    """Return, instead of :func:`body`, the reason why there is nothing to show."""
    return str(_environment().from_string(_FAILED).render(said=printable(said)))


def policy(live: bool) -> str:
    """Return the page's Content-Security-Policy: no other resources."""
    rules = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    if not live:
        return rules
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return f"{rules}; script-src 'sha256-{digest}'; connect-src 'self'"


_FAILED = '<p class="alone" role="alert">{{ said }}</p>\n'


def _render(template: str, name: str, epochs: Sequence[Epoch], written: str, live: bool) -> str:
    return (
        _environment()
        .get_template(template)
        .render(
            name=printable(name),
            epochs=epochs,
            last=epochs[-1] if epochs else None,
            written=written,
            left=_left(epochs),
            curves=_curves(epochs),
            maps=_maps(epochs),
            rows=_rows(epochs[-1]) if epochs else {},
            live=live,
            policy=policy(live),
            script=Markup(_script()) if live else "",
            number=_number,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("neuroport.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    return environment


def _script() -> str:
    source, _, _ = PackageLoader("neuroport.reporting", ".").get_source(
        Environment(autoescape=True), "training_page.js"
    )
    return source.replace("EVERY", f"{1000 * EVERY:.0f}")


def _left(epochs: Sequence[Epoch]) -> str:
    """Estimate the remaining time: every epoch takes as long as the last one."""
    if not epochs or epochs[-1].epoch >= epochs[-1].epochs:
        return ""
    last = epochs[-1]
    seconds = (last.epochs - last.epoch) * last.seconds
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# -- curves ------------------------------------------------------------------------------------


def _curves(epochs: Sequence[Epoch]) -> list[Chart]:
    """Return one curve for each measured number of the network."""
    samples = epochs[-1].samples if epochs else 0
    asked: list[tuple[str, str, Callable[[Epoch], float | None], Number]] = [
        ("Loss", "cross entropy of the training batches", lambda e: e.loss, _number),
        ("Accuracy", "on the held-out samples", lambda e: e.accuracy, _percent),
        (
            "Spikes per neuron",
            f"in a sample, of {samples} held-out ones",
            lambda e: e.spikes_per_neuron,
            _number,
        ),
        (
            "Dormant neurons",
            f"no spike in any of {samples} held-out samples",
            lambda e: None if (share := e.dormant_share) is None else 100 * share,
            _percent,
        ),
        (
            "Clipped weights",
            "beyond the 8 bits of a weight, in integers; best is 0",
            lambda e: sum(e.clipped.values()) if e.clipped else None,
            _whole,
        ),
        (
            "Saturated voltages",
            "at an end of their 24 bits, in integers; best is 0",
            lambda e: sum(e.saturated.values()) if e.saturated else None,
            _whole,
        ),
    ]
    found = []
    for title, said, value, number in asked:
        points = [(e.epoch, v) for e in epochs if (v := value(e)) is not None]
        if points:
            found.append(Chart(title, said, _curve(title, points, epochs, number)))
    return found


def _curve(
    title: str, points: list[tuple[int, float]], epochs: Sequence[Epoch], number: Number
) -> Markup:
    first, last = epochs[0].epoch, max(epochs[-1].epochs, epochs[-1].epoch)
    values = [value for _, value in points]
    low, high, marks = _scale(min(values), max(values), 1.0 if number is _whole else 0.0)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(epoch: float) -> float:
        return LEFT + width * (epoch - first + 0.5) / (last - first + 1)

    def y(value: float) -> float:
        return TOP + height * (1 - (value - low) / (high - low))

    told = f"{title}: {number(points[0][1])} in epoch {points[0][0]}"
    if points[1:]:
        told += f", {number(points[-1][1])} in epoch {points[-1][0]}"
    svg = picture(WIDTH, HEIGHT, told, "curve")
    whole = [e.epoch for e in epochs if e.phase == "quantized"]
    if whole:
        edge = x(whole[0] - 0.5)
        child(
            svg, "rect", x=edge, y=TOP, width=x(last + 0.5) - edge, height=height, class_="integers"
        )
        child(svg, "text", "integers", x=x(last + 0.5), y=TOP - 6, class_="muted end")
    for mark in marks:
        child(svg, "line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(mark), y2=y(mark), class_="grid")
        child(svg, "text", number(mark), x=LEFT - 6, y=y(mark) + 4, class_="muted end")
    for epoch in sorted({first, last, *(whole[:1] if len(epochs) > 3 else ())}):
        child(svg, "text", str(epoch), x=x(epoch), y=HEIGHT - 6, class_="muted middle")
    path = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in points)
    child(svg, "polyline", points=path, class_="line")
    dots = points if len(points) <= COLUMNS else points[-1:]
    for epoch, value in dots:
        dot = child(svg, "circle", cx=x(epoch), cy=y(value), r=2.5, class_="dot")
        child(dot, "title", f"epoch {epoch}: {number(value)}")
    return markup(svg)


def _scale(low: float, high: float, least: float) -> tuple[float, float, list[float]]:
    """Return the ends of an axis, and round numbers on it, ``least`` apart."""
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = min(0.0, low), max(high, 0.0) or 1.0
    raw = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= raw * 0.999)
    step = max(step, least)
    bottom, top = math.floor(low / step), math.ceil(high / step)
    return bottom * step, top * step, [step * at for at in range(bottom, top + 1)]


# -- maps --------------------------------------------------------------------------------------


def _maps(epochs: Sequence[Epoch]) -> list[Chart]:
    """Return maps with a row for each block or population and a column for each epoch."""
    asked: list[tuple[str, str, Callable[[Epoch], Mapping[str, float]], Number, bool]] = [
        (
            "Gradient norm of each block",
            "of its parameters, mean of some batches of an epoch, before clipping",
            lambda e: e.gradients,
            _number,
            True,
        ),
        (
            "Spikes per neuron of each population",
            "in a sample",
            lambda e: e.spikes,
            _number,
            False,
        ),
        (
            "Dormant neurons of each population",
            "no spike in any of the samples",
            lambda e: {name: 100 * share for name, share in e.dormant.items()},
            _percent,
            False,
        ),
        ("Clipped weights of each synapse", "in integers", lambda e: e.clipped, _whole, False),
        (
            "Saturated voltages of each population",
            "in integers",
            lambda e: e.saturated,
            _whole,
            False,
        ),
    ]
    found = []
    for title, said, values, number, logarithmic in asked:
        table = [(e.epoch, values(e)) for e in epochs if values(e)]
        rare = number is _whole and not any(any(row.values()) for _, row in table)
        if table and not rare:  # a map of zeros says no more than the curve
            found.append(_map(title, said, table, number, logarithmic))
    return found


def _map(
    title: str,
    said: str,
    table: list[tuple[int, Mapping[str, float]]],
    number: Number,
    logarithmic: bool,
) -> Chart:
    names = list(dict.fromkeys(name for _, row in table for name in row))
    shown, columns = _few(names, ROWS), _few(table, COLUMNS)
    every = [row[name] for _, row in columns for name in shown if name in row]
    above = [value for value in every if value > 0]
    high = max(above, default=1.0)
    low = min(above, default=high) if logarithmic else 0.0

    def strength(value: float) -> float:
        """Strength from 0 (not drawn) to 1."""
        if value <= 0:
            return 0.0
        if not logarithmic:
            return value / high
        span = math.log(high / low)
        return 0.1 + 0.9 * (math.log(value / low) / span if span else 1.0)

    width = max(CELL, min(28, 360 // len(columns)))
    names_width = 12 + LETTER * max(len(_short(name)) for name in shown)
    svg = picture(
        names_width + width * len(columns) + 30,
        CELL * len(shown) + 22,
        f"{title}, from {number(min(every))} to {number(max(every))}",
        "map",
    )
    for at, name in enumerate(shown):
        y = CELL * at
        child(svg, "text", _short(name), x=names_width - 8, y=y + 11, class_="end")
        for column, (epoch, row) in enumerate(columns):
            if name not in row:
                continue
            cell = child(
                svg,
                "rect",
                x=names_width + width * column,
                y=y,
                width=width - 1,
                height=CELL - 1,
                fill_opacity=round(strength(row[name]), 3),
                class_="cell",
            )
            child(cell, "title", f"{printable(name)}, epoch {epoch}: {number(row[name])}")
    for column in sorted({0, len(columns) - 1}):
        x = names_width + width * (column + 0.5)
        text = str(columns[column][0])
        child(svg, "text", text, x=x, y=CELL * len(shown) + 15, class_="muted middle")
    left = []
    if len(shown) < len(names):
        left.append(f"{len(shown)} of {len(names)} rows")
    if len(columns) < len(table):
        left.append(f"{len(columns)} of {len(table)} epochs")
    ends = f"from {number(min(every))}, faint, to {number(max(every))}, strong"
    note = f"{ends}; {' and '.join(left)} are drawn" if left else ends
    return Chart(title, said, markup(svg), note)


def _few(items: list[Any], most: int) -> list[Any]:
    """Return evenly spaced items that can be drawn, including the first and the last."""
    if len(items) <= most:
        return items
    return [items[round(at * (len(items) - 1) / (most - 1))] for at in range(most)]


def _rows(last: Epoch) -> dict[str, Any]:
    """Return tables of the last epoch."""
    populations = [
        (
            printable(name),
            _whole(neurons),
            _number(last.spikes.get(name, 0.0)),
            _percent(100 * last.dormant.get(name, 0.0)),
            _whole(last.saturated[name]) if name in last.saturated else "",
        )
        for name, neurons in last.neurons.items()
    ]
    blocks = [(printable(name), _number(norm)) for name, norm in last.gradients.items()]
    synapses = [
        (printable(name), _whole(weights), _whole(last.clipped.get(name, 0)))
        for name, weights in last.weights.items()
    ]
    return {"populations": populations, "blocks": blocks, "synapses": synapses}


def _short(name: str) -> str:
    text = printable(name)
    return text if len(text) <= 28 else f"{text[:12]}…{text[-15:]}"


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if 999.5 <= abs(value) < 1e5:
        return f"{value:,.0f}"
    return f"{value:.1e}" if abs(value) < 0.001 or abs(value) >= 1e5 else f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{value:.4g} %" if value in (0, 100) or value % 1 == 0 else f"{value:.1f} %"


def _whole(value: float) -> str:
    return f"{value:,.0f}"
