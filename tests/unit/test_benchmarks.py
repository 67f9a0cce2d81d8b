"""What is compared is the same work, and what is told is what was measured."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from benchmarks.speed.__main__ import main as speed  # noqa: E402
from benchmarks.speed.elsewhere import Elsewhere  # noqa: E402
from benchmarks.speed.figure import Figure  # noqa: E402
from benchmarks.speed.page import write_page  # noqa: E402
from benchmarks.speed.timing import Spread, Turns, in_turn  # noqa: E402
from benchmarks.speed.topology import BLOCKS, WIDTHS, Bare, frames, stepping  # noqa: E402
from neuroport.files import read_json, write_json  # noqa: E402
from neuroport.kernels.compilation import instructions  # noqa: E402
from neuroport.nets.ds_resnet import DsResNet  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402

DOCS = Path(__file__).resolve().parents[2] / "docs"


def shapes(net: torch.nn.Module) -> list[tuple[int, ...]]:
    """Shapes of all parameters, in any order; a 1x1 kernel may be written with four axes."""
    return sorted(tuple(p.shape) for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("before", [True, False])
def test_bare_network_has_the_weights_of_the_network_it_is_compared_with(before: bool) -> None:
    own = MsResNet(BLOCKS, WIDTHS, in_channels=3) if before else DsResNet(BLOCKS, WIDTHS)
    assert shapes(Bare(before, True, norm=True)) == shapes(own)


def test_slayer_network_has_the_weights_of_the_network_it_is_compared_with() -> None:
    pytest.importorskip("lava.lib.dl.slayer")
    from benchmarks.speed.slayer import Slayer, last

    net = Slayer()
    # SLAYER keeps decays and the threshold of each neuron as parameters of one number
    sizes = sorted(p.numel() for p in net.parameters() if p.numel() > 1)
    own = MsResNet(BLOCKS, WIDTHS, in_channels=3)
    assert sizes == sorted(p.numel() for p in own.parameters() if p.numel() > 1)
    x, labels = frames(2)
    stepping(net, last(x), labels)()
    assert all(p.grad is not None for p in net.parameters() if p.numel() > 1)


def test_every_way_is_timed_once_a_round_and_none_always_comes_first() -> None:
    order: list[str] = []
    ways = {name: lambda name=name: order.append(name) for name in "abc"}
    turns = in_turn(ways, rounds=3, warm=1)
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert {name: len(times) for name, times in turns.seconds.items()} == dict.fromkeys("abc", 3)


def test_ratio_is_taken_round_by_round() -> None:
    turns = in_turn({"long": lambda: time.sleep(0.02), "short": lambda: time.sleep(0.005)}, 3)
    assert 2 < turns.ratio("long", "short").median < 6
    assert turns.faster("long", "short") == "short"
    drifting = Turns({"a": [1.0, 2.0, 4.0], "b": [2.0, 4.0, 8.0]})
    assert drifting.ratio("b", "a") == Spread(2.0, 2.0, 2.0)


def test_figure_tells_whether_its_median_meets_the_goal() -> None:
    value = Spread(2.0, 1.0, 9.0)
    assert [Figure("", value, "x", goal).reached for goal in (1.9, 2.0, 2.1)] == [False, True, True]
    least = [Figure("", value, "x", goal, True).reached for goal in (1.9, 2.0, 2.1)]
    assert least == [True, True, False]
    assert Figure("", value, "x").reached is None


def test_without_another_environment_its_figures_are_left_out() -> None:
    assert Elsewhere.run(None, 3, 2).ratio("training, batch 16", "eager") is None


def test_page_shows_the_stored_figures(tmp_path: Path) -> None:
    for name in ("performance.md", "performance.json"):
        (tmp_path / name).write_bytes((DOCS / name).read_bytes())
    write_page(tmp_path)
    assert (tmp_path / "performance.md").read_text() == (DOCS / "performance.md").read_text()
    assert (tmp_path / "performance.svg").exists()


def test_page_keeps_one_set_of_figures_per_kind_of_processor(tmp_path: Path) -> None:
    row = {"what": "a step", "low": 1.0, "high": 3.0, "unit": "x", "at_most": 2.5}
    sets = {
        kind: {
            "machine": {"processor": kind, "instructions": kind},
            "sections": {
                "training": {
                    "figures": [{**row, "median": median, "reached": median <= 2.5}],
                    "versions": {"torch": "2.3.1"},
                }
            },
        }
        for kind, median in (("AVX2", 2.0), ("AVX-512 VNNI", 3.0))
    }
    write_json(tmp_path / "performance.json", {"machines": sets})
    (tmp_path / "performance.md").write_text("<!-- figures: begin -->\n<!-- figures: end -->\n")
    write_page(tmp_path)
    page = (tmp_path / "performance.md").read_text()
    assert "| measured | goal | AVX2 | AVX-512 VNNI |" in page
    assert "| a step | at most 2.5 | 2 (1 to 3) | 3 (1 to 3), **not reached** |" in page
    assert "| torch | 2.3.1 | 2.3.1 |" in page


def test_a_median_that_rounding_brings_to_its_goal_has_missed_it(tmp_path: Path) -> None:
    figure = Figure("a step", Spread(1.0503, 1.02, 1.13), "x", 1.05).to_dict()
    assert (figure["median"], figure["reached"]) == (1.05, False)
    section = {"figures": [figure], "versions": {}}
    kept = {"machines": {"AVX2": {"machine": {}, "sections": {"training": section}}}}
    write_json(tmp_path / "performance.json", kept)
    (tmp_path / "performance.md").write_text("<!-- figures: begin -->\n<!-- figures: end -->\n")
    write_page(tmp_path)
    assert "| 1.05 (1.02 to 1.13), **not reached** |" in (tmp_path / "performance.md").read_text()


def test_a_goal_made_stricter_holds_for_figures_measured_before(tmp_path: Path) -> None:
    def figure(what: str, **more: Any) -> dict[str, Any]:
        return {"what": what, "median": 1.1, "low": 1.0, "high": 1.2, "unit": "x", **more}

    older = [
        figure("a step", at_most=1.15, reached=True),
        figure("a gain", at_least=1, reached=True),
    ]
    newer = [
        figure("a step", at_most=1.05, reached=False),
        figure("a gain", at_least=1.1, reached=True),
    ]
    sets = {
        kind: {"machine": {}, "sections": {"training": {"figures": figures, "versions": {}}}}
        for kind, figures in (("AVX2", older), ("AVX-512 VNNI", newer))
    }
    write_json(tmp_path / "performance.json", {"machines": sets})
    (tmp_path / "performance.md").write_text("<!-- figures: begin -->\n<!-- figures: end -->\n")
    write_page(tmp_path)
    page = (tmp_path / "performance.md").read_text()
    missed = "1.1 (1 to 1.2), **not reached**"
    assert f"| a step | at most 1.05 | {missed} | {missed} |" in page
    assert "| a gain | at least 1.1 | 1.1 (1 to 1.2) | 1.1 (1 to 1.2) |" in page


def test_a_section_measured_before_is_said_to_be_with_the_command_that_measures_it_again(
    tmp_path: Path,
) -> None:
    stored = {"figures": [], "versions": {}}
    kept = {"machines": {instructions(): {"machine": {}, "sections": {"training": stored}}}}
    write_json(tmp_path / "performance.json", kept)
    done = CliRunner().invoke(speed, ["training", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "measured before" in done.output
    assert "python -m benchmarks.speed training --again" in done.output
    assert read_json(tmp_path / "performance.json") == kept


@pytest.mark.lava
def test_the_graph_with_lavas_own_convolutions_sends_what_is_compared_with_it() -> None:
    """Every geometry, exponents, a shortcut that lags; ``our_way`` compares every message."""
    import neuroport as port
    from benchmarks.speed.lava import by, our_way
    from neuroport.graph.graph import Graph
    from neuroport.graph.node import Conv, Dense, Input, Lif, Readout

    rng = np.random.default_rng(1)

    def even(*shape: int) -> np.ndarray:
        return 2 * rng.integers(-20, 21, shape)

    nodes = [
        Input("input", (2, 6, 5), bits=3),
        Conv("stem", ("input",), even(4, 2, 3, 2), 1, (1, 2), (2, 1), (2, 1)),
        Lif("a", ("stem",), 90, voltage_decay=300),
        Conv("c", ("a",), even(4, 2, 3, 3), padding=(1, 1), groups=2),
        Lif("b", ("c",), 40),
        Conv("d", ("b",), even(4, 4, 1, 1)),
        Conv("short", ("a",), even(4, 1, 1, 1), groups=4, lag=1),
        Lif("e", ("d", "short"), 30),
        Dense("classes", ("e",), even(3, 4 * 6 * 3)),
        Readout("potential", ("classes",)),
    ]
    graph = Graph(nodes, 3)
    frames = rng.integers(0, 8, (3, 3, 2, 6, 5))
    want = port.run(graph, frames)
    assert all(0 < want[name].mean() < 1 for name in "abe")
    assert by("straight", our_way(graph, frames[:, :2], want))() > 0
    assert by("avx2", our_way(graph, frames, want, processes="fused"))() > 0
    assert our_way(graph, frames, want, processes="fused", workers=2)() > 0
    want["e"][0, 0] ^= True
    with pytest.raises(AssertionError, match="e differs"):
        our_way(graph, frames, want, processes="fused")()


def test_seconds_per_sample_leave_out_the_steps_in_which_the_network_fills() -> None:
    from benchmarks.speed.lava import seconds_per_sample
    from neuroport.graph.graph import Graph
    from neuroport.graph.node import Dense, Input, Lif
    from neuroport.runs.trace import Trace

    nodes = [Input("i", (1,), 1), Dense("d", ("i",), np.array([[2]])), Lif("l", ("d",), 1)]
    told = {"workers": 2, "phases": {"run": 5.7}}
    trace = Trace({"l": np.zeros((3, 9, 1), bool)}, {"l": "lif"}, told)
    # five samples for the first worker: 4 intervals of 4, 3 steps, 1 step of depth
    assert seconds_per_sample(Graph(nodes, 3, 4), trace) == pytest.approx(5.7 / 20 * 4 / 2)


@pytest.mark.long
def test_the_script_for_a_gpu_runs_to_its_end_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import gpu

    out = tmp_path / "gpu.json"
    monkeypatch.setattr("sys.argv", ["gpu", "--reduced", "--out", str(out)])
    assert gpu.main() == 0
    found = read_json(out)
    assert found["reduced"]
    assert found["device"] == "cpu"
    assert all(found["integers"].values())
    assert set(found["waits"].values()) == {None}  # nothing waits for a CPU: not measured
    assert not gpu.agrees({**found, "integers": {**found["integers"], "ms_resnet, fast": False}})
    assert {each["recorded"] for each in found["captured"].values()} == {None}  # no graph on a CPU
    assert {each["largest difference"] for each in found["captured"].values()} == {0}
    rows = gpu.table(found)
    assert (
        "| neurons, integer phase, exact engine: bits of the CPU | 25 of 25 comparisons |" in rows
    )
    assert "| training step: neuroport / bare | batch 4: " in rows
    assert "bits of single operations | not measured |" in rows


def test_table_of_a_gpu_is_of_what_was_measured() -> None:
    from benchmarks import gpu

    one = {"recorded": True, "refused": None, "of single steps, twice": 0.0}
    times = {
        "seconds": {},
        "neuroport / bare": [1.1234, 1.0, 1.25],
        "SpikingJelly / neuroport": [2, 1.5, 3],
    }
    found: dict[str, Any] = {
        "neurons": {"real neurons": True},
        "integers": {"failed": "RuntimeError: nothing"},
        "random networks": {"networks": 3, "by kernels": 2, "positions": 1234, "differ": 2},
        "waits": {"a": False, "b": True, "c": None},
        "captured": {
            "a": {**one, "largest difference": 0.0},
            "b": {**one, "largest difference": 0.25},
        },
        "training": {"finite": True, "checkpoint is the same network on the CPU": True},
        "times": {"training step, batch 64": times, "training step, batch 256": times},
        "failed recording": {"trains on": True},
    }
    rows = gpu.table(found).splitlines()
    assert [row.split(" | ")[1] for row in rows[2:]] == [
        "1 of 1 comparisons",
        "2 of 1,234 differ in 3 networks",
        "1 of 2 networks",
        "1 of 2 networks, largest difference 2.5e-01",
        "batch 64: 2.00 (1.50 to 3.00); batch 256: 2.00 (1.50 to 3.00)",
        "not measured",
        "batch 64: 1.12 (1.00 to 1.25); batch 256: 1.12 (1.00 to 1.25)",
        *["not measured"] * 4,
    ]
    assert not gpu.agrees(found)
    good = {**found, "integers": {}, "random networks": {}, "waits": {"a": False}}
    assert not gpu.agrees(good)  # b's graph has other bits
    good["captured"] = {"a": found["captured"]["a"]}
    assert gpu.agrees(good)
    assert not gpu.agrees({**good, "failed recording": {"trains on": False}})
    assert not gpu.agrees({**good, "random networks": found["random networks"]})
    good["captured"] = {"a": {**one, "recorded": False, "largest difference": 0.0}}
    assert not gpu.agrees(good)


def test_page_has_the_table_of_the_gpu() -> None:
    from benchmarks import gpu

    docs = gpu.ROOT / "docs"
    measured = docs / "gpu.json"
    found = read_json(measured) if measured.exists() else {}
    text = (docs / "devices.md").read_text()
    assert gpu.page(text, found) == text
