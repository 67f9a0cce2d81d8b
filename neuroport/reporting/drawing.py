"""Draw the network as an inline SVG: the main branch straight, shortcuts as curves.

Rows are steps of chip time: populations in one row send at the same step, and their inputs come
from the row above.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from markupsafe import Markup

from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import GRADED, POTENTIAL, Synapse, by
from neuroport.reporting.labels import describe_population, describe_synapse
from neuroport.reporting.layout import Edge, Layout, layout
from neuroport.reporting.svg import child, markup, picture

ROW, TOP = 52, 36  # CSS pixels
LETTER = 7.7  # widest mean letter of the fonts a page may get at 13 px; labels never collide
LONGEST = 30  # letters of a label; the tooltip has the whole name

Point = tuple[float, float]


def drawing(graph: Graph) -> Markup:
    """Return ``<svg>`` of the network; tooltips have names, shapes, thresholds and kernels."""
    places = layout(graph)
    labels = {name: _labels(graph, places, name) for name in places.lanes}
    side = [name for name, lane in places.lanes.items() if lane > 0]
    left = 44 + LETTER * max(len(line) for name in places.main for line in labels[name])
    right = left + 24 + _pitch(places) * _outermost(places)
    letters = max((len(line) for name in side for line in labels[name]), default=0)
    points, lines = _points(places, left + 12)
    height = max(y for _, y in points.values()) + ROW / 2
    label = (
        f"Network of {len(points)} populations in {len(places.bands)} rows, one per step of chip "
        f"time; {sum(e.kind == 'shortcut' for e in places.edges)} edges are shortcuts"
    )
    svg = picture(right + LETTER * letters + 8, height, label, "network")
    child(svg, "text", "step", x=0, y=14, class_="muted")
    for latency, y in lines.items():
        child(svg, "line", x1=22, y1=y, x2="100%", y2=y, class_="row")
        child(svg, "text", str(latency), x=0, y=y + 4, class_="muted")
    for edge in sorted(places.edges, key=lambda edge: edge.kind == "main"):
        _draw_edge(svg, graph, places, points, edge)
    for name, point in points.items():
        _draw_node(svg, graph, name, point)
        on_main = places.lanes[name] == 0
        x, anchor = (left - 4, "end") if on_main else (right, "start")
        first, second = labels[name]
        child(svg, "text", first, x=x, y=point[1] - 4, text_anchor=anchor, class_="name")
        child(svg, "text", second, x=x, y=point[1] + 15, text_anchor=anchor, class_="muted")
    return markup(svg)


def _outermost(places: Layout) -> int:
    return max([0, *places.lanes.values(), *(edge.lane for edge in places.edges)])


def _pitch(places: Layout) -> int:
    """Return the pixels between lanes; many lanes are closer together."""
    return 64 if _outermost(places) <= 2 else 40


def _labels(graph: Graph, places: Layout, name: str) -> tuple[str, str]:
    """Return a population's name, and its kernel and shape."""
    short = name if len(name) <= LONGEST else f"{name[:12]}…{name[-(LONGEST - 13) :]}"
    arriving = [edge for edge in places.edges if edge.target == name]
    # Of several inputs, the one that comes along the same lane is the one a reader follows.
    arriving.sort(key=lambda e: (e.kind != "main", places.lanes[e.source] != places.lanes[name]))
    shape = by(graph.facts(name).shape)
    if not arriving:
        return short, shape
    return short, f"{graph[arriving[0].synapse].title()} → {shape}"


def _points(places: Layout, left: float) -> tuple[dict[str, Point], dict[int, float]]:
    """Return the position of each population, and the height of each latency's line."""
    points: dict[str, Point] = {}
    lines: dict[int, float] = {}
    y: float = TOP
    for latency, names in places.bands.items():
        lines[latency] = y
        beside = 0
        for name in names:
            lane = places.lanes[name]
            points[name] = (left + _pitch(places) * lane, y + (ROW * beside if lane else 0))
            beside += lane > 0
        y += ROW * max(1, beside)
    return points, lines


def _draw_node(svg: Element, graph: Graph, name: str, point: Point) -> None:
    node, (x, y) = graph[name], point
    if not node.takes:
        glyph = child(svg, "circle", cx=x, cy=y, r=6, class_="input")
    elif node.emits == GRADED:
        glyph = child(svg, "path", d=f"M{x:g} {y - 7:g}l7 7l-7 7l-7 -7z", class_="relay")
    elif node.gives == POTENTIAL:
        glyph = child(svg, "rect", x=x - 6, y=y - 6, width=12, height=12, class_="lif")
    else:
        glyph = child(svg, "circle", cx=x, cy=y, r=7, class_="lif")
    child(glyph, "title", describe_population(graph, node))


def _draw_edge(
    svg: Element, graph: Graph, places: Layout, points: dict[str, Point], edge: Edge
) -> None:
    node = graph[edge.synapse]
    assert isinstance(node, Synapse)
    group = child(svg, "g", class_=f"edge {edge.kind}")
    child(group, "title", describe_synapse(node, edge.source, edge.target))
    path = _path(places, points, edge)
    child(group, "path", d=path, class_="reach")  # a wide unseen line that a pointer can hit
    child(group, "path", d=path)


def _path(places: Layout, points: dict[str, Point], edge: Edge) -> str:
    """Return the path from source to target, through the edge's lane if needed."""
    (x, y), (end_x, end_y) = points[edge.source], points[edge.target]
    lane_x = x + _pitch(places) * (edge.lane - places.lanes[edge.source])
    written = f"M{x:g} {y:g}"
    between = _between(places, edge) if lane_x != x or lane_x != end_x else []
    if between and edge.kind != "main":
        tops = [min(points[name][1] for name in places.bands[latency]) for latency in between]
        for next_x, next_y in ((lane_x, tops[0]), (lane_x, tops[-1])):
            written += _curve(x, y, next_x, next_y)
            x, y = next_x, next_y
    return written + _curve(x, y, end_x, end_y)


def _between(places: Layout, edge: Edge) -> list[int]:
    latency = {name: s for s, names in places.bands.items() for name in names}
    return [s for s in places.bands if latency[edge.source] < s < latency[edge.target]]


def _curve(x: float, y: float, end_x: float, end_y: float) -> str:
    if x == end_x:
        return f"V{end_y:g}" if y != end_y else ""
    bend = 0.6 * (end_y - y)
    return f"C{x:g} {y + bend:g} {end_x:g} {end_y - bend:g} {end_x:g} {end_y:g}"
