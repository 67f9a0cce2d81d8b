"""Draw each population's chip load as an inline SVG of bars: cores, messages, slowest step.

Rows are in the order of the network; relays have their own colour. Nothing was run on hardware.
"""

from __future__ import annotations

from markupsafe import Markup

from neuroport.analysis.chip_loads import Load, Loads
from neuroport.reporting.svg import child, markup, picture

ROW, BAR, GAP, TOP = 15, 9, 18, 22  # CSS pixels
NAMES, WIDTH = 230, 170  # of the names and of the longest bar of a column
ROWS = 120  # drawn, those that take most


def bars(found: Loads) -> Markup:
    """Return ``<svg>`` with a row per population and three bars in it, scaled by shares."""
    shown, columns = drawn(found), _columns(found)
    width = NAMES + len(columns) * (WIDTH + 60 + GAP)
    label = (
        f"{len(shown)} of {len(found.populations)} populations on {found.target}: "
        f"{', '.join(title for title, _ in columns)}"
    )
    svg = picture(width, TOP + ROW * len(shown), label, "loads")
    most = {title: max(values.values(), default=0) for title, values in columns}
    for place, (title, _) in enumerate(columns):
        child(svg, "text", title, x=_left(place), y=12, class_="muted")
    for row, load in enumerate(shown):
        y = TOP + row * ROW
        group = child(svg, "g", class_="relay-core" if load.is_relay else "core")
        child(group, "title", _told(load))
        child(group, "text", _short(load.name), x=NAMES - 8, y=y + BAR, text_anchor="end")
        for place, (title, values) in enumerate(columns):
            value = values[load.name]
            long = WIDTH * value / most[title] if most[title] else 0.0
            x = _left(place)
            child(group, "rect", x=x, y=y, width=max(long, 0.5), height=BAR)
            child(group, "text", f"{value:,.0f}", x=x + long + 5, y=y + BAR, class_="muted")
    return markup(svg)


def drawn(found: Loads) -> list[Load]:
    """Return the populations of the picture, in order: all, or those with the largest loads."""
    columns = [values for _, values in _columns(found)]
    most = [max(values.values(), default=0) or 1 for values in columns]

    def weight(load: Load) -> float:
        return max(values[load.name] / top for values, top in zip(columns, most, strict=True))

    kept = {load.name for load in sorted(found.populations, key=weight, reverse=True)[:ROWS]}
    return [load for load in found.populations if load.name in kept]


def _columns(found: Loads) -> list[tuple[str, dict[str, float]]]:
    populations = found.populations
    columns: list[tuple[str, dict[str, float]]] = [
        ("cores", {load.name: load.cores for load in populations}),
        ("messages per sample", {load.name: load.messages for load in populations}),
    ]
    if any(load.step_us for load in populations):
        columns.append(("slowest step, us", {load.name: load.step_us for load in populations}))
    return columns


def _left(place: int) -> int:
    return NAMES + place * (WIDTH + 60 + GAP)


def _short(name: str) -> str:
    return name if len(name) <= 34 else f"{name[:16]}…{name[-17:]}"


def _told(load: Load) -> str:
    bound = f", slowest step at least {load.step_us:,.1f} us" if load.step_us else ""
    return (
        f"{load.name} ({load.kind}): {load.cores:,} cores, {load.neurons:,} neurons of which "
        f"{load.sending:.0%} send at a step, {load.messages:,.0f} messages to other cores per "
        f"sample, {load.most:,} operations in the busiest step of a core{bound}"
    )
