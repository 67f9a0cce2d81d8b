"""Every verb works alone, on files, in a process of its own; with --json it answers in this one."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Readout
from tests.conftest import Neuroport

VERBS = (
    "demo",
    "train",
    "watch",
    "sweep",
    "frames",
    "quantize",
    "import",
    "import-weights",
    "convert",
    "lower",
    "export",
    "run",
    "compare",
    "verify",
    "merge",
    "report",
    "show",
    "check",
    "qualify",
    "targets",
    "backends",
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")  # escape codes, carriage returns: all but lines
Say = Callable[..., str]


@pytest.fixture
def say(neuroport: Any, tmp_path: Path) -> Say:
    """Stdout of a verb that succeeds: nothing on stderr, no bar and no escape code in the pipe."""

    def call(*arguments: object, code: int = 0) -> str:
        # a terminal's environment: what decides is that the output is a pipe
        done = neuroport(*arguments, cwd=tmp_path, env={"TERM": "xterm-256color"})
        assert done.returncode == code, done.stdout + done.stderr
        assert done.stderr == ""
        assert CONTROL.search(done.stdout) is None
        return str(done.stdout)

    return call


@pytest.fixture
def answer(called: Neuroport, tmp_path: Path) -> Callable[..., Any]:
    """What a verb with ``--json`` says, parsed: one JSON object and nothing else."""

    def call(*arguments: object, code: int = 0) -> Any:
        done = called(*arguments, "--json", cwd=tmp_path)
        assert done.returncode == code, done.stdout + done.stderr
        assert done.stderr == ""
        assert CONTROL.search(done.stdout) is None
        return json.loads(done.stdout)

    return call


# -- help ------------------------------------------------------------------------------------


def test_help_lists_every_verb_in_the_order_of_use(say: Say) -> None:
    listing = say("--help").split("Commands:\n")[1]
    assert [line.split()[0] for line in listing.splitlines()] == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(called: Neuroport, verb: str) -> None:
    done, short = called(verb, "--help"), called(verb, "-h")
    assert (done.returncode, done.stderr) == (short.returncode, short.stderr) == (0, "")
    long = done.stdout
    assert short.stdout == long
    assert long.startswith(f"Usage: neuroport {verb} [OPTIONS]")
    assert "--json" in long
    # a sentence of its own between the usage line and the options
    assert re.search(r"\n\n  [A-Z][^\n]+", long.split("Options:")[0])


def test_version_is_the_package_version(say: Say) -> None:
    assert say("--version").strip().endswith(port.__version__)


def test_naming_no_verb_prints_the_help(neuroport: Any) -> None:
    done = neuroport()
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("Usage: neuroport [OPTIONS] [COMMAND]")
    assert all(f"\n  {verb} " in done.stdout for verb in VERBS)


# -- one verb after the other ------------------------------------------------------------------


def test_train_writes_a_checkpoint_its_recipe_and_its_metrics(
    trained: Path, tiny_recipe: Path
) -> None:
    said = (trained.parent / "stdout.txt").read_text()
    assert CONTROL.search(said) is None
    assert (trained.parent / "stderr.txt").read_text() == ""
    *epochs, last = said.splitlines()
    assert [line.split()[0] for line in epochs] == ["float", "float", "quantized"]
    assert all(re.search(r"epoch +\d/3 .*loss .*accuracy", line) for line in epochs)
    assert last == f"{trained}: 3 epochs done"
    names = {path.name for path in trained.iterdir()}
    assert names == {"checkpoint.safetensors", "metrics.jsonl", "recipe.toml"}
    assert (trained / "recipe.toml").read_text() == tiny_recipe.read_text()
    metrics = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [m["phase"] for m in metrics] == ["float", "float", "quantized"]
    assert all(0 <= m["accuracy"] <= 100 and m["samples"] == 20 for m in metrics)


def test_train_keeps_the_recipe_with_which_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from click.testing import CliRunner

    from neuroport.cli.train import train

    recipe, trained = tmp_path / "mine.toml", []

    def fit(parsed: Any, folder: Path, **_: Any) -> None:
        trained.append(parsed.name)
        recipe.write_text('name = "after"\n')  # edited for the next run
        folder.mkdir()

    monkeypatch.setattr("neuroport.training.fit.fit", fit)
    told = SimpleNamespace(metrics=[])
    monkeypatch.setattr("neuroport.training.checkpoint.read_checkpoint", lambda *_, **__: told)
    recipe.write_text('name = "before"\n')
    done = CliRunner().invoke(train, [str(recipe), "-o", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert trained == ["before"]
    assert (tmp_path / "run" / "recipe.toml").read_text() == 'name = "before"\n'


def test_train_again_trains_nothing_and_says_the_same(
    answer: Callable[..., Any], trained: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    told = answer("train", tiny_recipe, "-o", "run")
    assert told["folder"] == "run"
    lines = (trained / "metrics.jsonl").read_text().splitlines()
    assert told["metrics"] == [json.loads(line) for line in lines]
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before


def test_a_folder_with_another_recipe_is_refused_until_its_own_is_trained_again(
    called: Any, trained: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "recipe.toml").write_text(tiny_recipe.read_text() + "correct_bias = true\n")
    for words in (("quantize", "run"), ("frames", "run", "-o", "f.npy", "--samples", 2)):
        done = called(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert "(quantization.correct_bias False -> True)" in done.stderr
    assert not (tmp_path / "f.npy").exists()
    done = called("train", tiny_recipe, "-o", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (run / "recipe.toml").read_text() == tiny_recipe.read_text()
    assert called("quantize", "run", cwd=tmp_path).returncode == 0


def test_quantize_says_what_each_layer_cost(
    called: Any, say: Say, answer: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    text = say("quantize", "run", "--cost", "20")
    assert text.startswith("quantization-aware quantization on 20 samples\naccuracy ")
    cost = answer("quantize", "run", "--cost", "20")["cost"]
    metrics = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    # the same 20 held-out digits as the last epoch's
    assert 5 * cost["integer_correct"] == metrics[-1]["accuracy"]
    graph = port.read(tmp_path / "run" / "quantized.graph")
    assert {p["name"] for p in cost["populations"]} < {node.name for node in graph}
    assert answer("quantize", "run", "--cost", "20", "--device", "cpu")["cost"] == cost
    done = called("quantize", "run", "--device", "cuda", "-o", "none.graph", cwd=tmp_path)
    assert done.returncode == 2
    assert "--device is where the samples of --cost run" in done.stderr
    assert not (tmp_path / "none.graph").exists()
    done = called("quantize", "run", "--cost", "21", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "neuroport: --cost is 21; use 1 to 20 held-out samples\n"


def test_quantize_writes_a_graph_of_integers_beside_the_checkpoint(
    say: Say, answer: Callable[..., Any], trained: Path, quantized: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    text = say("quantize", "run")
    graph = port.read(tmp_path / "run" / "quantized.graph")
    assert f"wrote run/quantized.graph: {len(graph)} nodes" in text
    told = answer("quantize", "run", "-o", "mine.graph")
    expected = {"path": "mine.graph", "nodes": len(graph), "depth": graph.depth, "hash": graph.hash}
    assert told == {**expected, "warnings": []}
    # the same checkpoint gives the same integers, in whatever process
    assert graph.hash == port.read(tmp_path / "mine.graph").hash == port.read(quantized).hash


def test_lower_aligns_what_meets_and_keeps_every_neuron(
    say: Say, answer: Callable[..., Any], quantized: Path, tmp_path: Path
) -> None:
    told = answer("lower", quantized, "-o", "chip.graph")
    before, after = port.read(quantized), port.read(tmp_path / "chip.graph")
    assert told["hash"] == after.hash
    assert "wrote again.graph" in say("lower", quantized, "-o", "again.graph")
    assert (tmp_path / "again.graph").read_bytes() == (tmp_path / "chip.graph").read_bytes()
    assert told["nodes"] == len(after) > len(before)
    assert after.balanced
    assert not before.balanced
    kept = {node.name for node in after}
    assert {node.name for node in before} <= kept


def test_export_writes_the_graph_as_hdf5_that_reads_back_equal(
    answer: Callable[..., Any], say: Say, network: Path, tmp_path: Path
) -> None:
    lowered = network.with_name("lowered.graph")
    told = answer("export", lowered, "-o", "mine.net")
    assert told["hash"] == port.read(tmp_path / "mine.net").hash == port.read(lowered).hash
    assert h5py.is_hdf5(tmp_path / "mine.net")
    assert "wrote again.net" in say("export", lowered, "-o", "again.net")
    assert (tmp_path / "again.net").read_bytes() == (tmp_path / "mine.net").read_bytes()


def test_run_on_the_reference_engine_counts_spikes_and_names_classes(
    say: Say, answer: Callable[..., Any], network: Path, frames: Path, labels: Path, tmp_path: Path
) -> None:
    told = answer("run", network, "--frames", frames, "--labels", labels, "-o", "reference.trace")
    want = port.run(port.read(network), np.load(frames))
    assert told["samples"] == 6
    assert told["provenance"]["engine"] == "reference"
    assert told["provenance"]["graph"] == port.read(network).hash
    spiking = [name for name, kind in want.kinds.items() if kind == "lif"]
    assert told["spikes"] == {name: int(want[name].sum()) for name in spiking}
    # a network in which something is silent would make every comparison weaker than it looks
    assert all(count > 0 for count in told["spikes"].values())
    assert told["predictions"] == want.predictions.tolist()
    right = int((want.predictions == np.load(labels)).sum())
    assert told["accuracy"] == pytest.approx(100 * right / 6)
    assert told["trace"] == "reference.trace"
    assert port.compare(want, port.Trace.load(tmp_path / "reference.trace"))
    text = say("run", network, "--frames", frames, "--samples", 2)
    assert text.startswith("reference: 2 samples")
    assert f"classes {' '.join(str(c) for c in want.predictions[:2])}\n" in text


@pytest.mark.lava
def test_run_on_lava_writes_the_trace_of_the_reference(
    answer: Callable[..., Any], network: Path, frames: Path, tmp_path: Path
) -> None:
    told = answer("run", network, "--frames", frames, "--on", "lava-cpu", "-o", "lava.trace")
    want = port.run(port.read(network), np.load(frames))
    assert told["provenance"]["engine"] == "lava-cpu"
    assert told["provenance"]["versions"]["lava-nc"]
    assert told["predictions"] == want.predictions.tolist()
    outcome = port.compare(want, port.Trace.load(tmp_path / "lava.trace"))
    assert outcome.equal, str(outcome)
    assert outcome.spikes > 0


def test_run_takes_a_training_folder_and_runs_its_own_torch_module(
    answer: Callable[..., Any], trained: Path, network: Path, frames: Path, tmp_path: Path
) -> None:
    told = answer("run", trained, "--frames", frames, "-o", "module.trace")
    assert told["provenance"]["engine"] == "module"
    want = port.run(port.read(network), np.load(frames))
    assert port.compare(want, port.Trace.load(tmp_path / "module.trace"))


def test_compare_takes_traces_and_networks_and_exits_0_when_equal(
    say: Say, answer: Callable[..., Any], network: Path, quantized: Path, frames: Path
) -> None:
    say("run", network, "--frames", frames, "-o", "net.trace")
    text = say("compare", network, "net.trace", "--frames", frames)
    assert text.endswith(", 0 differ\n")
    told = answer("compare", quantized, network, "--frames", frames)
    assert told["equal"] is True
    assert told["differing"] == 0
    assert told["first"] is None
    assert told["samples"] == 6
    assert told["spikes"] > 0
    assert told["positions"] > told["spikes"]
    assert told["same_predictions"] is True
    assert told["text"].endswith(", 0 differ")
    # only the relays that lowering put in are on one side
    assert told["only_want"] == []
    assert all("carry" in name or "held" in name for name in told["only_got"])


def test_compare_takes_a_training_folder_as_what_is_wanted(
    answer: Callable[..., Any], trained: Path, network: Path, frames: Path
) -> None:
    told = answer("compare", trained, network, "--frames", frames)
    assert (told["want"], told["got"], told["equal"]) == ("module", "reference", True)


@pytest.mark.lava
def test_compare_runs_what_it_got_on_lava(
    answer: Callable[..., Any], network: Path, frames: Path
) -> None:
    told = answer("compare", network, network, "--frames", frames, "--on", "lava-cpu")
    assert (told["want"], told["got"], told["equal"]) == ("reference", "lava-cpu", True)


def test_compare_exits_1_and_names_the_first_divergence(
    answer: Callable[..., Any], network: Path, frames: Path, tmp_path: Path
) -> None:
    want = port.run(port.read(network), np.load(frames))
    got = {name: array.copy() for name, array in want.messages.items()}
    name = "blocks.1.neuron2"
    got[name][2, 3, 1, 5, 7] ^= True
    want.save(tmp_path / "want.trace")
    port.Trace(got, want.kinds, want.provenance).save(tmp_path / "got.trace")
    told = answer("compare", "want.trace", "got.trace", code=1)
    assert told["equal"] is False
    assert told["differing"] == 1
    assert told["by_population"] == {name: 1}
    expected = int(want[name][2, 3, 1, 5, 7])
    assert told["first"] == {
        "population": name,
        "step": 2,
        "sample": 3,
        "neuron": [1, 5, 7],
        "expected": expected,
        "got": 1 - expected,
    }


def test_compare_with_a_network_tells_the_neuron_at_fault_from_what_the_trace_recorded(
    answer: Callable[..., Any], network: Path, frames: Path, tmp_path: Path
) -> None:
    want = port.run(port.read(network), np.load(frames))
    got = {name: array.copy() for name, array in want.messages.items()}
    name = "blocks.1.neuron2"
    got[name][2, 3, 1, 5, 7] ^= True
    port.Trace(got, want.kinds, want.provenance).save(tmp_path / "got.trace")
    for arguments, side in (((network, "got.trace"), "got"), (("got.trace", network), "want")):
        told = answer("compare", *arguments, "--frames", frames, code=1)
        near = told["neighbourhood"]
        assert (near["population"], near["sample"], near["neuron"]) == (name, 3, [1, 5, 7])
        assert near["fault"] == told["cause"]["side"] == side
        right = int(want[name][2, 3, 1, 5, 7])
        assert [m["step"] for m in near[side]] == [0, 1, 2]
        assert (near[side][-1]["should"], near[side][-1]["recorded"]) == (right, 1 - right)
        assert f"the neuron of {side} should have given {right}" in told["text"]


def test_report_writes_one_page_that_needs_nothing_else(
    say: Say, answer: Callable[..., Any], network: Path, frames: Path, tmp_path: Path
) -> None:
    say("run", network, "--frames", frames, "-o", "net.trace")
    told = answer("report", network, "--trace", "net.trace", "-o", "page.html")
    assert told["page"] == "page.html"
    assert told["statistics"]
    page = (tmp_path / "page.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    # a self-contained page loads nothing: no script, style, font or image from elsewhere
    assert re.findall(r"""(?:src|href)=["']?(?!#|data:)[^"'\s>]+""", page) == []
    assert re.findall(r"@import|url\((?!['\"]?(?:#|data:))", page) == []
    text = say("report", network, "--trace", "net.trace", "-o", "page.html")
    assert "wrote page.html" in text
    assert "neuron" in text


def test_show_prints_one_line_per_node(say: Say, answer: Callable[..., Any], network: Path) -> None:
    graph = port.read(network)
    assert say("show", network) == f"{graph}\n"
    told = answer("show", network)
    assert (told["hash"], told["steps"], told["depth"]) == (graph.hash, 4, graph.depth)
    assert [node["name"] for node in told["nodes"]] == [node.name for node in graph]
    assert told["nodes"][0] == {
        "name": "input",
        "kind": "input",
        "inputs": [],
        "shape": [1, 28, 28],
        "latency": 0,
        "skew": 0,
    }
    assert told["nodes"][-1]["latency"] == graph.depth


def test_check_finds_nothing_in_a_lowered_network_and_latencies_in_an_unlowered_one(
    say: Say, answer: Callable[..., Any], network: Path, quantized: Path
) -> None:
    assert say("check", network).startswith(f"{network}: runs on lava-cpu, 0 violations of ")
    told = answer("check", network)
    assert told["target"] == "lava-cpu"
    assert told["violations"] == []
    assert "latencies_agree" in told["rules"]
    found = answer("check", quantized, code=1)["violations"]
    assert found
    assert {violation["rule"] for violation in found} == {"latencies_agree"}
    assert {violation["node"] for violation in found} <= {n.name for n in port.read(quantized)}
    assert all("lower the graph" in violation["message"] for violation in found)


def test_backends_lists_the_engines(say: Say, answer: Callable[..., Any]) -> None:
    told = answer("backends")["backends"]
    assert told["reference"] == {"available": True, "reason": None}
    assert set(told) >= {"reference", "lava-cpu"}
    for engine, facts in told.items():
        assert facts["available"] == (facts["reason"] is None)
        assert any(line.startswith(engine) for line in say("backends").splitlines())


def test_an_error_with_json_is_one_object_with_its_kind(neuroport: Any) -> None:
    done = neuroport("show", "nothing.net", "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "StorageError"
    assert done.stderr == f"neuroport: {error['message']}\n"


# -- terminals, pipes, time ----------------------------------------------------------------------


def test_a_terminal_gets_a_progress_bar_and_stdout_stays_clean(
    entry_point: list[str], network: Path, frames: Path
) -> None:
    reader, terminal = pty.openpty()
    command = [*entry_point, "run", str(network), "--frames", str(frames)]
    # enough columns and a capable terminal, whatever this test runs in
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=terminal, env=environment, timeout=60
    )
    os.close(terminal)
    drawn = b""
    while True:
        try:
            part = os.read(reader, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not part:
            break
        drawn += part
    os.close(reader)
    assert done.returncode == 0
    assert b"\x1b[" in drawn
    assert b"reference" in drawn
    assert b"\x1b" not in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error(entry_point: list[str], network: Path) -> None:
    command = subprocess.Popen(
        [*entry_point, "show", str(network)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout is not None
    command.stdout.close()
    _, said = command.communicate(timeout=60)
    assert said == b""
    assert command.returncode == 0


def seconds(command: list[str]) -> float:
    """Median of three."""
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def test_help_takes_less_than_a_second(entry_point: list[str]) -> None:
    assert seconds([*entry_point, "--help"]) < 1


def test_import_takes_less_than_a_second(entry_point: list[str]) -> None:
    assert seconds([sys.executable, "-c", "import neuroport"]) < 1


@pytest.mark.parametrize(
    "code",
    [
        "import neuroport",
        "import neuroport.cli",
        # click calls the verb's parser, no verb
        "import neuroport.cli\n"
        "try: neuroport.cli.cli.main(['run', '--help'])\n"
        "except SystemExit: pass",
    ],
)
def test_import_and_help_load_neither_torch_nor_lava_nor_hdf5(code: str) -> None:
    heavy = ("torch", "lava", "h5py", "numpy", "tonic", "scipy")
    show = f"import sys; print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"


def test_a_network_of_two_readouts_runs_and_is_compared_without_classes(
    say: Say, answer: Callable[..., Any], called: Neuroport, tmp_path: Path
) -> None:
    nodes = [
        Input("frames", (2,), bits=2),
        Dense("in", ("frames",), 2 * np.eye(2, dtype=int)),
        Readout("one", ("in",)),
        Readout("other", ("in",)),
    ]
    port.export(Graph(nodes, 3), tmp_path / "two.net")
    np.save(tmp_path / "x.npy", np.ones((3, 4, 2), int))
    np.save(tmp_path / "y.npy", np.zeros(4, int))
    assert "classes" not in say("run", "two.net", "--frames", "x.npy", "-o", "two.trace")
    assert (
        answer("compare", "two.net", "two.trace", "--frames", "x.npy")["same_predictions"] is None
    )
    done = called("run", "two.net", "--frames", "x.npy", "--labels", "y.npy", cwd=tmp_path)
    assert done.returncode == 2
    assert "labels need one answer; 2 readouts in the trace" in done.stderr


def test_every_verb_is_a_file_of_its_own_that_is_imported_when_it_is_called(root: Path) -> None:
    shared = {"__init__", "inputs", "main", "options", "output", "paths"}
    paths = (root / "neuroport" / "cli").glob("*.py")
    files = {path.stem for path in paths} - shared
    assert {name.rstrip("_").replace("_", "-") for name in files} == set(VERBS)
    code = (
        "import sys; from neuroport.cli import cli; cli.get_command(None, 'show')\n"
        "print(sorted(m for m in sys.modules if m.startswith('neuroport.cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    loaded = {*shared - {"__init__"}, "show"}
    assert done.stdout.strip() == str(sorted(f"neuroport.cli.{name}" for name in loaded))


def test_verify_compares_a_training_folder_with_its_graph_and_not_with_itself(
    called: Neuroport, root: Path
) -> None:
    pytest.importorskip("torch")
    model = root / "models" / "ms_resnet8_mnist"
    done = called("verify", model, "--frames", model / "frames.npy", "--samples", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("fast against module: compared 388,904 ")
