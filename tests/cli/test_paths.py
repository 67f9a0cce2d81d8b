"""Nothing is written over what a command reads, nor two things into one file; no path is empty."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import neuroport as port
from neuroport.cli.main import VERBS, cli
from neuroport.cli.paths import OF_A_RUN, RESUMED, Command, NameOrFile, OutFile
from neuroport.files import FORMATS
from neuroport.graph.store import save
from tests.conftest import Neuroport
from tests.unit.runs.test_shards import frames, network

Refused = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of every kind: networks, frames, a trace, and what a training leaves."""
    np.save(tmp_path / "f.npy", frames())
    save(network(), tmp_path / "a.graph")
    save(network(40), tmp_path / "b.graph")
    port.run(network(), frames()).save(tmp_path / "a.trace")
    (tmp_path / "run").mkdir()
    for name in OF_A_RUN:
        (tmp_path / "run" / name).write_text(name)
    for name, source in (("net", "a.graph"), ("f", "f.npy"), ("t", "a.trace")):
        shutil.copy(tmp_path / source, tmp_path / name)
    os.symlink("f", tmp_path / "link")
    os.link(tmp_path / "f", tmp_path / "hard")
    return tmp_path


@pytest.fixture
def refused(called: Neuroport, snapshot: Any, folder: Path) -> Refused:
    """The one line of a command that refuses; no file changes."""

    def call(*arguments: object) -> str:
        before = snapshot(folder)
        done = called(*arguments, cwd=folder)
        assert done.returncode == 2, done.stdout + done.stderr
        (line,) = done.stderr.splitlines()
        assert snapshot(folder) == before
        return str(line)

    return call


RUN = ("run", "net", "--frames", "f")


@pytest.mark.parametrize(
    ("arguments", "source", "reader"),
    [
        (("run", "net", "--frames", "f.npy", "-o", "net"), "net", "'NETWORK'"),
        ((*RUN, "-o", "f"), "f", "'--frames'"),
        ((*RUN, "-o", "./run/../f"), "f", "'--frames'"),
        ((*RUN, "-o", "link"), "f", "'--frames'"),
        ((*RUN, "-o", "hard"), "f", "'--frames'"),
        ((*RUN, "--labels", "y", "-o", "y"), "y", "'--labels'"),
        ((*RUN, "--site", "s", "-o", "s"), "s", "'--site'"),
        (("report", "net", "--trace", "a.trace", "-o", "net"), "net", "'NETWORK'"),
        (("report", "net", "--trace", "t", "-o", "t"), "t", "'--trace'"),
        (("report", "net", "--trace", "t", "--target", "t", "-o", "t"), "t", "'--trace'"),
        (("verify", "net", "--frames", "f", "-o", "net"), "net", "'NETWORK'"),
        (("verify", "net", "other", "--frames", "f", "-o", "other"), "other", "'[OTHER]'"),
        (("watch", "run", "--html", "run/metrics.jsonl"), "run/metrics.jsonl", "'FOLDER'"),
        (("quantize", "run", "-o", "run/start.graph"), "run/start.graph", "'FOLDER'"),
        (
            ("import-weights", "run/checkpoint.safetensors", "-o", "run", "--recipe", "demo"),
            "run/checkpoint.safetensors",
            "'FILE'",
        ),
        (
            ("import-weights", "f", "-o", "run", "--recipe", "./run/recipe.toml"),
            "./run/recipe.toml",
            "'--recipe'",
        ),
        (("lower", "a.graph", "-o", "a.graph"), "a.graph", "'GRAPH'"),
        (("lower", "a.graph", "--target", "t", "-o", "t"), "t", "'--target'"),
        (("run", "net", "--frames", "f", "--cluster", "slurm:t", "-o", "t"), "t", "'--cluster'"),
        (("convert", "a.graph", "-o", "a.graph"), "a.graph", "'NETWORK'"),
        (("import", "a.nir", "--frames", "x=f", "-o", "f"), "f", "'--frames'"),
        (("merge", "1.trace", "2.trace", "-o", "2.trace"), "2.trace", "'SHARDS...'"),
        (("qualify", "--site", "s.json", "-o", "s.json"), "s.json", "'--site'"),
        (
            ("compare", "net", "b.graph", "--frames", "f.npy", "--minimize", "-o", "f.net"),
            "f.npy",
            "'--frames'",
        ),
        (("compare", "net", "a.other.net", "--minimize", "-o", "a.net"), "a.other.net", "'GOT'"),
        (("compare", "t", "net", "--frames", "f", "--report", "t"), "t", "'WANT'"),
    ],
)
def test_nothing_is_written_over_what_is_read(
    refused: Refused, arguments: tuple[str, ...], source: str, reader: str
) -> None:
    line = refused(*arguments)
    assert f"would write over {source}, which {reader} reads; write to another file" in line


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("frames", "run", "-o", "x.npy", "--labels", "x.npy"), "'-o' / '--out' and '--labels'"),
        (("frames", "run", "-o", "x.npy", "--labels", "run/../x.npy"), "'-o' / '--out' and '--l"),
        (("import", "a.nir", "-o", "x", "--joined", "x"), "'-o' / '--out' and '--joined'"),
        (
            ("compare", "net", "b.graph", "--minimize", "-o", "x", "--report", "x"),
            "'-o' / '--out' and '--report'",
        ),
    ],
)
def test_no_two_things_are_written_to_one_file(
    refused: Refused, arguments: tuple[str, ...], options: str
) -> None:
    line = refused(*arguments)
    assert options in line
    assert "give each a file of its own" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("lower", "a.graph", "-o", "x.nir"), ("a NIR file, and a graph", "neuroport export writ")),
        (("lower", "a.graph", "-o", "x.TRACE"), ("name of a trace", "name it x.graph")),
        (("import", "a.nir", "-o", "x.net"), ("name of a NetX file", "neuroport export writes")),
        (("quantize", "run", "-o", "x.safetensors"), ("x.safetensors is the name of weights",)),
        (("export", "a.graph", "-o", "x.graph"), ("name of a graph", "neuroport lower writes")),
        (("convert", "a.graph", "-o", "x.json"), ("name of JSON", "name it x.graph")),
        ((*RUN, "-o", "x.npy"), ("name of an array, and a trace", "name it x.trace")),
        (("verify", "a.graph", "--frames", "f.npy", "-o", "x.toml"), ("name it x.json",)),
        (("frames", "run", "-o", "x.npy", "--labels", "y.json"), ("'--labels'", "name it y.npy")),
        (("report", "a.graph", "--trace", "a.trace", "-o", "x.net"), ("name it x.html",)),
        (("merge", "a.trace", "-o", "x.json"), ("x.json is the name of JSON",)),
    ],
)
def test_a_file_has_no_name_of_another_format(
    refused: Refused, arguments: tuple[str, ...], says: tuple[str, ...]
) -> None:
    line = refused(*arguments)
    for words in says:
        assert words in line


def test_names_without_a_format_and_files_beside_the_read_ones_are_written(
    called: Neuroport, folder: Path
) -> None:
    for arguments in (
        (*RUN, "-o", "x"),
        (*RUN, "-o", "a.trace"),  # an earlier result
        ("lower", "a.graph", "-o", "run/x"),
        ("compare", "a.graph", "b.graph", "--frames", "f.npy", "--minimize", "-o", "small.net"),
    ):
        done = called(*arguments, cwd=folder)
        assert done.returncode in (0, 1), done.stderr
    assert {"small.net", "small.npy", "x"} <= set(os.listdir(folder))


def _paths() -> list[tuple[str, click.Parameter]]:
    """Every parameter of every command that takes a path, or a text that may be one."""
    context = click.Context(cli)
    found = []
    for name in VERBS:
        verb = cli.get_command(context, name)
        assert isinstance(verb, Command), name
        # click keeps the help option that a command is asked for first
        asked = click.Context(verb, **cli.context_settings)
        for each in verb.get_params(asked):
            if isinstance(each.type, (click.Path, NameOrFile)):
                found.append((name, each))
    return found


def test_every_path_of_every_command_knows_whether_it_is_read_or_written() -> None:
    found = _paths()
    assert len(found) > 60
    for verb, each in found:
        assert hasattr(each.type, "reads") != hasattr(each.type, "writes"), (verb, each.name)
        if isinstance(each.type, OutFile):
            assert set(each.type.suffixes) <= set(FORMATS)


@pytest.mark.parametrize(
    ("verb", "param"), [pytest.param(v, p, id=f"{v}-{p.name}") for v, p in _paths()]
)
def test_no_path_is_empty(
    called: Neuroport, tmp_path: Path, verb: str, param: click.Parameter
) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    arguments: list[str] = []
    for each in command.params:
        if each is param or each.required:
            flag = [each.opts[-1]] if isinstance(each, click.Option) else []
            arguments += [*flag, "" if each is param else "x"]
    if param not in command.params:  # of an engine
        arguments += [param.opts[-1], ""]
    done = called(verb, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "Invalid value for" in line
    assert param.opts[-1] in line or str(param.human_readable_name) in line
    assert "''" in line
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_a_training_are_those_that_it_writes() -> None:
    pytest.importorskip("torch")
    from neuroport.training.checkpoint import CHECKPOINT, RECIPE
    from neuroport.training.given_graph import START
    from neuroport.training.metrics import METRICS

    assert RESUMED == (CHECKPOINT, METRICS)
    assert OF_A_RUN == (CHECKPOINT, METRICS, RECIPE, START)


def test_a_trained_network_survives_every_name_for_its_graph(
    called: Neuroport, trained: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    before = (run / "checkpoint.safetensors").read_bytes()
    done = called("quantize", run, "-o", run / "checkpoint.safetensors")
    assert done.returncode == 2
    assert (run / "checkpoint.safetensors").read_bytes() == before
    done = called("quantize", run, "-o", run / "mine.graph")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", ["--on", "--against"])
def test_an_engine_without_a_name_is_not_the_default_one(refused: Refused, option: str) -> None:
    line = refused("verify", "a.graph", "--frames", "f.npy", option, "")
    assert "unknown engine ''" in line
    if option == "--on":
        assert "unknown engine ''" in refused(*RUN, "--on", "")
        assert "unknown engine ''" in refused(
            "compare", "a.graph", "b.graph", "--frames", "f.npy", "--on", ""
        )
