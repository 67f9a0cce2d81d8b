"""Draw the cores of a network on chips as an inline SVG, coloured by their use.

Without a mapping, populations fill the chips in the order of the network. The position of a core on
its chip has no meaning. Nothing was run on hardware.
"""

from __future__ import annotations

from collections import Counter
from math import ceil

from markupsafe import Markup

from neuroport.reporting.svg import child, markup, picture
from neuroport.targets.mapping import Mapping
from neuroport.targets.resources import TITLES, Resources

SIDE, GAP, TOP = 13, 3, 20  # CSS pixels
ACROSS = 4  # chips in a row
CHIPS = 16  # drawn; the rest is counted


def cores(found: Resources, mapping: Mapping | None = None) -> Markup:
    """Return ``<svg>`` of the chips: a square per core, darker if fuller."""
    per_chip = found.target["cores"]
    columns = ceil(per_chip**0.5)
    chips = min(found.chips, CHIPS)
    pitch_x = columns * (SIDE + GAP) + 4 * GAP
    pitch_y = ceil(per_chip / columns) * (SIDE + GAP) + TOP + 2 * GAP
    label = f"{found.cores} cores on {found.chips} chips, coloured by fill"
    width, height = min(chips, ACROSS) * pitch_x, ceil(chips / ACROSS) * pitch_y
    svg = picture(width, height, label, "cores")

    def corner(chip: int, core: int) -> tuple[int, int]:
        x = (chip % ACROSS) * pitch_x + core % columns * (SIDE + GAP)
        y = chip // ACROSS * pitch_y + TOP + core // columns * (SIDE + GAP)
        return x, y

    for chip in range(chips):
        x, y = corner(chip, 0)
        child(svg, "text", f"chip {chip}", x=x, y=y - 6, class_="muted")
        for core in range(per_chip):
            x, y = corner(chip, core)
            child(svg, "rect", x=x, y=y, width=SIDE, height=SIDE, class_="field")
    places = _places(found, mapping)
    index = 0
    for placed in found.placed:
        group = child(svg, "g", class_="relay-core" if placed.layer.kind == "relay" else "core")
        tile = " x ".join(map(str, placed.tiling.tile))
        child(
            group,
            "title",
            f"{placed.layer.name}: {placed.cores} cores of {tile} neurons, {placed.fraction:.0%} "
            f"full, bound by {TITLES[placed.binding]}",
        )
        shade = max(0.12, min(1.0, placed.fraction))
        for chip, core in places[index : index + placed.cores]:
            if chip < chips:
                x, y = corner(chip, core)
                child(group, "rect", x=x, y=y, width=SIDE, height=SIDE, fill_opacity=shade)
        index += placed.cores
    return markup(svg)


def _places(found: Resources, mapping: Mapping | None) -> list[tuple[int, int]]:
    """Return the chip of each used core, and its number on it."""
    per_chip = found.target["cores"]
    if mapping is None:
        return [divmod(index, per_chip) for index in range(found.cores)]
    filled: Counter[int] = Counter()
    places = []
    for chip in mapping.chips:
        places.append((chip, filled[chip]))
        filled[chip] += 1
    return places
