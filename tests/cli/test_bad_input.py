"""A user's mistake ends in one line: what is wrong, where, how to mend it; no file is touched.

The machine's own mischief is real as well: the kernel refuses to write (a limit on file sizes, as
a full disk does), or kills the process while it writes.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import neuroport as port

Refused = Callable[..., str]
Change = Callable[[Path], object]

# what a machine without a package answers when Python looks for it
WITHOUT = """\
from importlib.machinery import PathFinder

find = PathFinder.find_spec

def find_spec(cls, name, path=None, target=None):
    return None if name.split(".")[0] == {package!r} else find(name, path, target)

PathFinder.find_spec = classmethod(find_spec)
"""

# the process is killed, as by `kill -9`, when it is about to rename a file in a folder
KILLED_AT_RENAME = """\
import os, signal, sys

left = {count}

def hook(event, arguments):
    global left
    if event == "os.rename" and os.fspath(arguments[1]).startswith({folder!r}):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
"""

# Ctrl-C at the first event of a kind that concerns a name
INTERRUPTED = """\
import os, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # not what a shell left ignored
pressed = []

def hook(event, arguments):
    if not pressed and event == {event!r} and {name!r} in str(arguments):
        pressed.append(True)
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(hook)
"""

# Python ignores the signal with which the kernel ends a process that writes too large a file
KILLED_WHILE_WRITING = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"


@pytest.fixture
def refused(neuroport: Any, called: Any, snapshot: Any, tmp_path: Path) -> Refused:
    """The one line on stderr of a verb that refuses; the test's folder must stay as it was.

    A process of its own is started where ``options`` say something about the process.
    """

    def call(*arguments: object, code: int = 2, says: tuple[str, ...] = (), **options: Any) -> str:
        before = snapshot(tmp_path)
        done = (neuroport if options else called)(*arguments, cwd=tmp_path, **options)
        assert done.returncode == code, done.stdout + done.stderr
        lines = done.stderr.splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("neuroport: ")
        assert "Traceback" not in done.stdout
        for words in says:
            assert words in lines[0]
        assert snapshot(tmp_path) == before
        return str(lines[0])

    return call


@pytest.fixture(scope="module")
def startup(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """Environment of a process that runs ``code`` when its Python starts."""

    def environment(code: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("startup")
        (folder / "sitecustomize.py").write_text(code)
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    return environment


@pytest.fixture
def net(network: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copy(network, tmp_path / "tiny.net"))


@pytest.fixture
def digits(frames: Path, tmp_path: Path) -> Path:
    """A copy of the frames, in the folder that must stay as it is."""
    return Path(shutil.copy(frames, tmp_path / "frames.npy"))


@pytest.fixture
def run_folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of the training folder."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def largest_file(size: int) -> Callable[[], None]:
    """In the child: no file may grow beyond ``size`` bytes; writing more fails."""
    return partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))


# -- recipes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[network]\nwidhts = [4, 6, 8]", ("network.widhts", "did you mean 'network.widths'?")),
        ("[quantisation]\nepochs = 1", ("'quantisation'", "did you mean 'quantization'?")),
        ("sed = 1", ("'sed'", "did you mean 'seed'?")),
        ("[training]\nzzz = 1", ("'training.zzz'", "known: auto_augment, batch, checkpoint_steps")),
        ('[training]\nepochs = "two"', ("training.epochs is 'two'", "expected int")),
        ("[training]\nepochs = 2.5", ("training.epochs is 2.5", "expected int")),
        ("[training]\nepochs = true", ("training.epochs is True", "expected int")),
        ("[network]\nwidths = 4", ("network.widths is 4", "expected a list of integers")),
        ("training = 3", ("training is 3", "[training]")),
        ("[data]\nsteps = 0", ("data.steps is 0", "use 1 to 64")),
        ("[data]\ntrain = 4500", ("data.train + data.test is 5500", "5000 samples")),
        ("[data]\ndataset = 'cifar'", ("data.dataset is 'cifar'", "'mnist5k'")),
        ("[network]\nwidths = [4, 6]", ("network.widths is [4, 6]", "three positive widths")),
        ("[training]\nlearning_rate = nan", ("training.learning_rate", "positive")),
        ("[training]\nepochs = 0\n[quantization]\nepochs = 0", ("epochs", "use 1 or more")),
        ("seed = -1", ("seed is -1",)),
        ("seed = 100000000000000000000", ("seed is 100000000000000000000",)),
        ("[data]\nsplit_seed = -1", ("data.split_seed is -1",)),
        ("[data\nsteps = 4", ("not TOML", "line 1")),
        ("\x00\x01", ("not TOML",)),
    ],
)
def test_a_recipe_that_is_wrong_says_which_key_and_what_it_takes(
    refused: Refused, tmp_path: Path, text: str, says: tuple[str, ...]
) -> None:
    (tmp_path / "mine.toml").write_text(text)
    line = refused("train", "mine.toml", "-o", "run", says=says)
    assert line.startswith("neuroport: mine.toml: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[data]\ntrain = 20\ntest = 10\n[training]\nbatch = 50", ("batch", "use a smaller one")),
        (
            "[data]\ntrain = 20\ntest = 10\n[training]\nbatch = 2\nlearning_rate = inf",
            ("learning",),
        ),
    ],
)
def test_a_recipe_that_cannot_be_trained_ends_without_a_checkpoint(
    refused: Refused, tmp_path: Path, text: str, says: tuple[str, ...]
) -> None:
    (tmp_path / "mine.toml").write_text(f"{text}\n[network]\nwidths = [2, 2, 2]")
    refused("train", "mine.toml", "-o", "run", says=says)


@pytest.mark.parametrize("name", ["../elsewhere", "", "a/b"])
def test_a_recipe_whose_name_cannot_name_a_file_is_refused(
    refused: Refused, tiny_recipe: Path, tmp_path: Path, name: str
) -> None:
    text = tiny_recipe.read_text().replace('name = "tiny"', f'name = "{name}"')
    assert text != tiny_recipe.read_text()
    (tmp_path / "mine.toml").write_text(text)
    refused("train", "mine.toml", "-o", "run", says=("mine.toml: name is", repr(name)))


@pytest.mark.parametrize("verb", [("train", "demo", "-o"), ("demo", "--out")], ids=lambda v: v[0])
@pytest.mark.parametrize("out", ["mine.net", "mine.net/run"])
def test_a_file_in_place_of_the_folder_of_a_run_is_refused_before_any_work(
    refused: Refused, without: Any, tmp_path: Path, verb: tuple[str, ...], out: str
) -> None:
    (tmp_path / "mine.net").write_bytes(b"precious")
    says = (f"{out}: mine.net is a file", "choose another folder or move the file away")
    # neither could work without torch: it is not even asked for
    refused(*verb, out, env=without("torch"), says=says)


def test_a_recipe_that_is_not_text_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"name = '\xff\xfe'")
    refused("train", "mine.toml", "-o", "run", says=("mine.toml", "not text", "TOML file"))


@pytest.mark.parametrize("name", ["folder/mine.toml", "dmo"])
def test_a_recipe_that_is_missing_is_named_and_the_shipped_one_offered(
    refused: Refused, name: str
) -> None:
    refused("train", name, "-o", "run", says=(f"{name}: ", "No such file", "demo"))


# -- network files -------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def truncate_by_one_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def make_newer(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = np.int64(99)


def make_foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("weights")


def make_empty_stock(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("layer")


def make_trace(path: Path) -> None:
    messages = {"a": np.zeros((1, 1, 1), np.int32)}
    port.Trace(messages, {"a": "relay"}, {}).save(path)


def replace_weight(path: Path, change: Callable[[Any], Any]) -> None:
    with h5py.File(path, "r+") as file:
        name = next(n for n, node in file["graph"].items() if node.attrs["kind"] == "conv")
        weight = file[f"graph/{name}/weight"][()]
        del file[f"graph/{name}/weight"]
        file[f"graph/{name}"].create_dataset("weight", data=change(weight))


def change_steps(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["graph"].attrs["steps"] = np.int64(3)


def remove_a_node(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["graph/00003"]


DAMAGES: dict[str, tuple[Change, tuple[str, ...]]] = {
    "truncated": (truncate, ("truncated", "write the file again")),
    "one byte short": (truncate_by_one_byte, ("truncated", "write the file again")),
    "empty": (lambda path: path.write_bytes(b""), ("truncated", "write the file again")),
    "not HDF5": (lambda path: path.write_text("name = 'tiny'"), ("not a neuroport network file",)),
    "newer": (make_newer, ("version 99 is newer than", "upgrade neuroport")),
    "foreign": (make_foreign, ("format is ''", "expected 'neuroport'", "not a file of this kind")),
    "stock without layers": (make_empty_stock, ("group 'layer' is empty", "not a stock NetX file")),
    "a trace": (make_trace, ("format is 'neuroport-trace'", "expected 'neuroport'")),
    "a weight of another shape": (
        partial(replace_weight, change=lambda w: w[:, :, :, :2]),
        ("inputs are summed", "make the shapes equal", "export it again"),
    ),
    "a weight of another rank": (
        partial(replace_weight, change=np.ravel),
        ("stem: weight", "damaged", "export it again"),
    ),
    "a weight of more channels": (
        partial(replace_weight, change=lambda w: np.repeat(w, 2, 1)),
        ("stem: weight (4, 2, 3, 3)", "its input has 1", "export it again"),
    ),
    "a weight of floats": (
        partial(replace_weight, change=lambda w: w.astype(np.float32)),
        ("weight is float32", "expected int"),
    ),
    "other steps": (change_steps, ("content hash", "export it again")),
    "a node removed": (remove_a_node, ("graph/00003", "missing", "export the file again")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_network_is_refused_with_what_is_wrong(
    refused: Refused, net: Path, digits: Path, damage: str
) -> None:
    change, says = DAMAGES[damage]
    change(net)
    refused("run", "tiny.net", "--frames", "frames.npy", says=("tiny.net: ", *says))


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "tiny.net"),
        ("check", "tiny.net"),
        ("lower", "tiny.net", "-o", "out.graph"),
        ("export", "tiny.net", "-o", "out.net"),
        ("run", "tiny.net", "--frames", "frames.npy", "-o", "out.trace"),
        ("compare", "tiny.net", "tiny.net", "--frames", "frames.npy"),
        ("report", "tiny.net", "--trace", "good.trace", "-o", "out.html"),
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_every_verb_that_reads_a_network_refuses_one_it_cannot_read(
    refused: Refused, net: Path, digits: Path, arguments: tuple[str, ...], damage: str
) -> None:
    port.run(port.read(net), np.load(digits)).save(net.with_name("good.trace"))
    if damage == "truncated":
        truncate(net)
        refused(*arguments, says=("tiny.net: ", "truncated", "write the file again"))
    else:
        net.unlink()
        refused(*arguments, says=("tiny.net: no such file", "give the path of"))


def test_a_folder_in_place_of_a_network_is_called_a_folder(
    refused: Refused, digits: Path, tmp_path: Path
) -> None:
    (tmp_path / "tiny.net").mkdir()
    refused("show", "tiny.net", says=("tiny.net: ", "folder", "give the path of"))
    # `run` takes a folder for that of a training run
    says = ("tiny.net/checkpoint.safetensors: no such file", "training run")
    refused("run", "tiny.net", "--frames", "frames.npy", says=says)


# -- frames --------------------------------------------------------------------------------------


def promise_more(path: Path) -> None:
    """A header that promises 3 TiB."""
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (4, 1 << 30, 1, 28, 28)}
        np.lib.format.write_array_header_1_0(file, header)


def save_pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def save_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, frames=np.zeros((4, 6, 1, 28, 28), np.uint8))


def save(array: Any) -> Change:
    return lambda path: np.save(path, array)


def frames_of(*shape: int, dtype: Any = np.uint8) -> Any:
    return np.zeros(shape, dtype)


FRAMES: dict[str, tuple[Change, tuple[str, ...]]] = {
    "narrow": (save(frames_of(4, 6, 1, 28, 27)), ("(4, 6, 1, 28, 27)", "(4, N, 1, 28, 28)")),
    "without channel": (save(frames_of(4, 6, 28, 28)), ("(4, 6, 28, 28)", "(4, N, 1, 28, 28)")),
    "a number": (save(np.uint8(1)), ("()", "(T, N, C, H, W)")),
    "five steps": (save(frames_of(5, 6, 1, 28, 28)), ("(5, 6, 1, 28, 28)", "steps first")),
    "samples first": (save(frames_of(6, 4, 1, 28, 28)), ("(6, 4, 1, 28, 28)", "steps first")),
    "no sample": (save(frames_of(4, 0, 1, 28, 28)), ("hold no sample", "give at least one")),
    "float": (
        save(frames_of(4, 6, 1, 28, 28, dtype=np.float32)),
        ("float32", "whole numbers"),
    ),
    "complex": (save(frames_of(4, 6, 1, 28, 28, dtype=complex)), ("complex128", "integers")),
    "text": (save(frames_of(4, 6, 1, 28, 28, dtype="U1")), ("<U1", "integers")),
    "too bright": (
        save(frames_of(4, 6, 1, 28, 28, dtype=np.int64) + 256),
        ("span 256..256", "the input takes 0..255", "8 bit"),
    ),
    "negative": (save(frames_of(4, 6, 1, 28, 28, dtype=np.int8) - 1), ("span -1..-1", "0..255")),
    "not an array": (
        lambda path: path.write_text("frames"),
        ("frames.npy: ", "not a .npy array", "save frames with numpy.save"),
    ),
    "pickled array": (save_pickled, ("frames.npy: ", "not a .npy array", "numpy.save")),
    "pickle": (
        lambda path: path.write_bytes(pickle.dumps(frames_of(4, 6, 1, 28, 28))),
        ("frames.npy: ", "not a .npy array", "numpy.save"),
    ),
    "archive": (save_archive, ("frames.npy: ", "an archive, not one array", "numpy.save")),
    "empty": (lambda path: path.write_bytes(b""), ("frames.npy: ", "not a .npy array")),
    "truncated": (truncate, ("frames.npy: ", "not a .npy array", "numpy.save")),
    "promises": (promise_more, ("frames.npy: ", "not a .npy array", "numpy.save")),
    "missing": (Path.unlink, ("frames.npy: no such file", "(T, N, C, H, W)")),
}


@pytest.mark.parametrize("mistake", FRAMES)
def test_frames_that_do_not_fit_are_refused_with_what_the_network_takes(
    refused: Refused, net: Path, digits: Path, mistake: str
) -> None:
    make, says = FRAMES[mistake]
    make(digits)
    refused("run", "tiny.net", "--frames", "frames.npy", "-o", "out.trace", says=says)


def test_a_training_folder_refuses_frames_that_do_not_fit_as_a_network_does(
    refused: Refused, run_folder: Path, digits: Path
) -> None:
    np.save(digits, frames_of(4, 6, 1, 28, 27))
    refused("run", "run", "--frames", "frames.npy", says=("an odd size", "use frames whose"))


@pytest.mark.parametrize("samples", [0, -1, 7])
def test_samples_out_of_range_name_the_range(
    refused: Refused, net: Path, digits: Path, samples: int
) -> None:
    says = (f"samples is {samples}", "frames.npy", "6")
    refused("run", "tiny.net", "--frames", "frames.npy", "--samples", samples, says=says)


def test_labels_of_another_number_are_refused(refused: Refused, net: Path, digits: Path) -> None:
    np.save(digits.with_name("labels.npy"), np.zeros(5, np.int64))
    arguments = ("run", "tiny.net", "--frames", "frames.npy", "--labels", "labels.npy")
    refused(*arguments, says=("labels.npy", "5 labels for 6 samples"))


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros(6), "float64"),
        (np.array(list("012345")), "<U1"),
        (np.zeros((6, 10), np.int64), "(6, 10)"),
        (np.array([0, 1, -1, 0, 0, 0]), "label -1 of sample 2 is no class; give whole numbers"),
        (np.array([0, 1, 0, 0, 99, 0]), "label 99 of sample 4 is no class"),
    ],
    ids=["float", "text", "one-hot", "negative", "too large"],
)
def test_labels_that_are_no_classes_are_refused(
    refused: Refused, net: Path, digits: Path, labels: Any, says: str
) -> None:
    np.save(digits.with_name("labels.npy"), labels)
    arguments = ("run", "tiny.net", "--frames", "frames.npy", "--labels", "labels.npy")
    refused(*arguments, says=("labels.npy", says))
    port.run(port.read(net), np.load(digits)).save(net.with_name("tiny.trace"))
    arguments = ("report", "tiny.net", "--trace", "tiny.trace", "--labels", "labels.npy")
    refused(*arguments, "-o", "page.html", says=("labels.npy", says))


@pytest.mark.lava
@pytest.mark.parametrize("deadline", ["nan", "0", "-1"])
def test_a_deadline_that_is_no_time_is_refused(
    refused: Refused, net: Path, digits: Path, deadline: str
) -> None:
    arguments = ("run", "tiny.net", "--frames", "frames.npy", "--on", "lava-cpu")
    line = refused(*arguments, "--deadline", deadline, says=("deadline", deadline))
    assert "did not finish" not in line


# -- names ---------------------------------------------------------------------------------------


def test_an_unknown_engine_is_answered_with_those_there_are(
    refused: Refused, net: Path, digits: Path
) -> None:
    says = ("unknown engine 'loihi3'", "reference, fast, lava-cpu")
    refused("run", "tiny.net", "--frames", "frames.npy", "--on", "loihi3", says=says)
    refused("compare", "tiny.net", "tiny.net", "--frames", "frames.npy", "--on", "x", says=("'x'",))


def test_an_unknown_engine_is_refused_for_a_training_folder_too(
    refused: Refused, run_folder: Path, digits: Path
) -> None:
    refused("run", "run", "--frames", "frames.npy", "--on", "loihi3", says=("'loihi3'",))


@pytest.mark.parametrize("verb", [("check",), ("lower", "-o", "out.graph")], ids=lambda v: v[0])
def test_an_unknown_target_is_answered_with_those_there_are(
    refused: Refused, net: Path, verb: tuple[str, ...]
) -> None:
    arguments = (verb[0], "tiny.net", "--target", "loihi9", *verb[1:])
    refused(*arguments, says=("unknown target 'loihi9'", "lava-cpu"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fly",), ("'fly'", "neuroport --help")),
        (("run",), ("NETWORK", "neuroport run --help")),
        (("run", "tiny.net"), ("--frames", "neuroport run --help")),
        (("run", "tiny.net", "--frames", "frames.npy", "--samples", "x"), ("'x'", "--samples")),
        (("train", "demo"), ("--out", "neuroport train --help")),
        (("show", "tiny.net", "--colour"), ("--colour", "neuroport show --help")),
        (("targets", "nosuch", "--fit"), ("--fit", "leave NAME out")),
        (("backends", "--yes"), ("--yes confirms an installation", "--install")),
        (("watch", ".", "--html", "a.html", "--port", "80"), ("--port is for the live page",)),
    ],
)
def test_wrong_usage_is_one_line_that_points_at_the_help(
    refused: Refused, net: Path, digits: Path, arguments: tuple[str, ...], says: tuple[str, ...]
) -> None:
    refused(*arguments, says=says)


def test_comparing_networks_without_frames_asks_for_them(refused: Refused, net: Path) -> None:
    refused("compare", "tiny.net", "tiny.net", says=("tiny.net", "give --frames"))


# -- what is not installed -----------------------------------------------------------------------


@pytest.fixture
def without(startup: Any) -> Callable[[str], dict[str, str]]:
    """Environment in which Python finds no such package."""
    return lambda package: startup(WITHOUT.format(package=package))


def test_tensorboard_missing_is_said_before_training(refused: Refused, without: Any) -> None:
    says = ("package tensorboard", "not installed", "pip install '.[tensorboard]'")
    refused("train", "demo", "-o", "run", "--tensorboard", env=without("tensorboard"), says=says)


def test_lava_missing_is_said_with_how_to_get_it(
    refused: Refused, neuroport: Any, without: Any, net: Path, digits: Path
) -> None:
    environment = without("lava")
    arguments = ("run", "tiny.net", "--frames", "frames.npy", "--on", "lava-cpu")
    refused(*arguments, env=environment, says=("'lava-cpu'", "backends --install lava"))
    # everything else works, and the list of engines says the same
    done = neuroport("backends", env=environment)
    assert done.returncode == 0
    assert "backends --install lava" in done.stdout
    assert neuroport(*arguments[:4], cwd=net.parent, env=environment).returncode == 0


def test_the_demo_says_that_lava_is_missing_before_it_trains(
    refused: Refused, without: Any
) -> None:
    refused("demo", "--out", "demo", env=without("lava"), says=("backends --install lava",))


@pytest.mark.parametrize("package", ["torch", "safetensors", "mlxtend"])
def test_training_without_its_packages_says_which_one_is_missing(
    refused: Refused, without: Any, package: str
) -> None:
    says = (package, "not installed", ".[train]")
    refused("train", "demo", "-o", "out", env=without(package), says=says)


@pytest.mark.parametrize("arguments", [("quantize", "run"), ("run", "run", "--frames", "f.npy")])
def test_a_training_folder_without_torch_says_that_torch_is_missing(
    refused: Refused, without: Any, run_folder: Path, frames: Path, arguments: tuple[str, ...]
) -> None:
    shutil.copy(frames, run_folder.with_name("f.npy"))
    refused(*arguments, env=without("torch"), says=("torch", "not installed", ".[train]"))


# -- the order of the verbs ----------------------------------------------------------------------


def test_exporting_before_lowering_is_illegal_and_says_to_lower(
    refused: Refused, quantized: Path, net: Path, tmp_path: Path
) -> None:
    shutil.copy(quantized, tmp_path / "quantized.graph")
    says = ("illegal for lava-cpu", "blocks.1.neuron1", "unequal latency", "lower the graph")
    refused("export", "quantized.graph", "-o", "out.net", code=1, says=says)
    refused("export", "quantized.graph", "-o", "tiny.net", code=1, says=says)


@pytest.mark.lava
def test_running_an_unlowered_graph_on_lava_is_illegal(
    refused: Refused, quantized: Path, digits: Path
) -> None:
    shutil.copy(quantized, digits.with_name("quantized.graph"))
    arguments = ("run", "quantized.graph", "--frames", "frames.npy", "--on", "lava-cpu")
    refused(*arguments, code=1, says=("illegal for lava-cpu", "lower the graph"))


# -- checkpoints ---------------------------------------------------------------------------------


def test_a_folder_without_checkpoint_says_which_folder_to_give(
    refused: Refused, tmp_path: Path, digits: Path
) -> None:
    (tmp_path / "run").mkdir()
    says = ("run/checkpoint.safetensors", "no such file", "training run")
    refused("quantize", "run", says=says)
    refused("quantize", "nowhere", says=("nowhere/checkpoint.safetensors", "training run"))
    refused("run", "run", "--frames", "frames.npy", says=says)


@pytest.mark.parametrize("verb", ["quantize", "train"])
def test_a_truncated_checkpoint_is_refused_and_kept(
    refused: Refused, run_folder: Path, tiny_recipe: Path, verb: str
) -> None:
    truncate(run_folder / "checkpoint.safetensors")
    arguments = ("quantize", "run") if verb == "quantize" else ("train", tiny_recipe, "-o", "run")
    refused(*arguments, says=("run/checkpoint.safetensors", "truncated", "train again"))


@pytest.mark.parametrize("kind", ["foreign", "newer", "narrower", "tensor missing", "edited"])
def test_a_checkpoint_that_is_not_one_of_this_network_is_refused(
    refused: Refused, run_folder: Path, kind: str
) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    path = run_folder / "checkpoint.safetensors"
    tensors = safetensors.load_file(path)
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        about = json.loads(json.loads(file.read(size))["__metadata__"]["neuroport"])
    says: tuple[str, ...] = ("run/checkpoint.safetensors", "not a neuroport checkpoint")
    metadata = {}
    if kind == "edited":
        says = ("run/checkpoint.safetensors", "does not match its hash", "train again")
        about["epoch"] -= 1
        del about["metrics"][-1]
    else:
        del about["hash"]  # as of a checkpoint from before there was one
    if kind == "newer":
        about["version"], says = 99, ("run/checkpoint.safetensors", "version 99", "upgrade")
    elif kind == "narrower":
        name = next(name for name in tensors if name.startswith("model.") and tensors[name].ndim)
        tensors[name], says = tensors[name][:1], ("does not fit", "recipe")
    elif kind == "tensor missing":
        name = next(name for name in tensors if name.startswith("model."))
        del tensors[name]
        says = ("does not fit", "recipe")
    if kind != "foreign":
        metadata = {"neuroport": json.dumps(about)}
    safetensors.save_file(tensors, path, metadata)
    refused("quantize", "run", says=says)


def test_training_with_another_recipe_says_what_changed_and_keeps_the_run(
    refused: Refused, run_folder: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    text = tiny_recipe.read_text().replace("batch = 20", "batch = 30")
    assert text != tiny_recipe.read_text()
    (tmp_path / "other.toml").write_text(text)
    says = ("run holds a run of another recipe", "training.batch 20 -> 30", "another folder")
    refused("train", "other.toml", "-o", "run", says=says)


# -- traces --------------------------------------------------------------------------------------


@pytest.fixture
def trace(net: Path, digits: Path) -> Path:
    """A trace of ``net`` on ``digits``."""
    return port.run(port.read(net), np.load(digits)).save(net.with_name("tiny.trace"))


def test_a_truncated_trace_is_refused(refused: Refused, trace: Path) -> None:
    shutil.copy(trace, trace.with_name("good.trace"))
    truncate(trace)
    says = ("tiny.trace: ", "truncated", "write the file again")
    refused("compare", "good.trace", "tiny.trace", says=says)
    refused("compare", "tiny.trace", "good.trace", says=says)
    refused("report", "tiny.net", "--trace", "tiny.trace", "-o", "page.html", says=says)


def test_traces_of_other_frames_cannot_be_compared(
    refused: Refused, trace: Path, net: Path, digits: Path
) -> None:
    np.save(digits, np.load(digits)[:, ::-1])
    port.run(port.read(net), np.load(digits)).save(net.with_name("other.trace"))
    says = ("different frames", "run both on the same file")
    refused("compare", "tiny.trace", "other.trace", says=says)
    refused("compare", "tiny.trace", "tiny.net", "--frames", "frames.npy", says=says)


@pytest.mark.parametrize(
    ("want", "given", "says"),
    [
        ("tiny.net", ("--on", "fast"), "--on is for running GOT, and tiny.trace is a trace"),
        ("tiny.trace", ("--batch", "1"), "--batch is for running GOT, and tiny.trace is a trace"),
        ("tiny.trace", ("--samples", "1"), "--samples is for running networks, and both are"),
        ("tiny.trace", (), "--frames is for networks, and both are traces"),
        ("tiny.net", ("--time", "chip"), "--time is for running GOT, and tiny.trace is a trace"),
        ("tiny.net", ("--free-running",), "--free-running is for stock NetX files"),
        ("tiny.net", ("--no-delay-shift",), "tiny.net and tiny.trace do: leave it out"),
    ],
)
def test_what_is_for_running_a_network_is_not_ignored_for_a_trace(
    refused: Refused, trace: Path, want: str, given: tuple[str, ...], says: str
) -> None:
    refused("compare", want, trace.name, "--frames", "frames.npy", *given, says=(says,))


def test_traces_of_other_networks_cannot_be_compared(refused: Refused, trace: Path) -> None:
    make_trace(trace.with_name("other.trace"))
    says = ("no population in common", "different networks")
    refused("compare", "tiny.trace", "other.trace", says=says)


def test_a_report_refuses_the_trace_of_another_network(refused: Refused, trace: Path) -> None:
    make_trace(trace.with_name("other.trace"))
    says = ("the trace has no population of the graph", "give the graph that was run")
    refused("report", "tiny.net", "--trace", "other.trace", "-o", "page.html", says=says)


def test_a_report_refuses_a_network_in_place_of_a_trace(refused: Refused, trace: Path) -> None:
    says = ("tiny.net: ", "format is 'neuroport'", "expected 'neuroport-trace'")
    refused("report", "tiny.net", "--trace", "tiny.net", "-o", "page.html", says=says)


def test_a_report_refuses_results_that_are_no_json(refused: Refused, trace: Path) -> None:
    trace.with_name("demo.json").write_text("{")
    arguments = ("report", "tiny.net", "--trace", "tiny.trace", "-o", "page.html")
    refused(*arguments, "--results", "demo.json", says=("demo.json: not JSON",))
    refused(*arguments, "--results", "none.json", says=("none.json: no such file",))


@pytest.mark.parametrize("results", ["[]", '{"comparisons": 7}', '{"accuracy": 3, "seconds": "x"}'])
def test_a_report_without_sound_results_is_drawn_or_refused_but_never_a_traceback(
    called: Any, trace: Path, results: str
) -> None:
    trace.with_name("demo.json").write_text(results)
    arguments = ("report", "tiny.net", "--trace", "tiny.trace", "--results", "demo.json")
    done = called(*arguments, "-o", "page.html", cwd=trace.parent)
    assert done.returncode in (0, 2), done.stderr
    if done.returncode == 2:
        (line,) = done.stderr.splitlines()
        assert line.startswith("neuroport: demo.json")
    else:
        assert trace.with_name("page.html").read_text().rstrip().endswith("</html>")


# -- the disk ------------------------------------------------------------------------------------


def test_a_full_disk_leaves_every_earlier_file_as_it_was(
    refused: Refused, trace: Path, network: Path, tmp_path: Path
) -> None:
    shutil.copy(network.with_name("lowered.graph"), tmp_path / "lowered.graph")
    shutil.copy(trace, tmp_path / "old.trace")
    shutil.copy(tmp_path / "lowered.graph", tmp_path / "old.graph")
    (tmp_path / "old.html").write_text("<!doctype html>")
    writers = [
        ("export", "lowered.graph", "-o", "tiny.net"),
        ("export", "lowered.graph", "-o", "new.net"),
        ("lower", "lowered.graph", "-o", "old.graph"),
        ("run", "tiny.net", "--frames", "frames.npy", "-o", "old.trace"),
        ("run", "tiny.net", "--frames", "frames.npy", "-o", "new.trace"),
        ("report", "tiny.net", "--trace", "tiny.trace", "-o", "old.html"),
        ("report", "tiny.net", "--trace", "tiny.trace", "-o", "new.html"),
    ]
    for arguments in writers:
        says = (f"{arguments[-1]}: cannot write", "File too large", "free space")
        refused(*arguments, preexec=largest_file(4096), says=says)


def test_a_full_disk_during_training_keeps_the_last_checkpoint(
    refused: Refused, killed_in_the_second_epoch: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    says = ("checkpoint.safetensors: cannot write", "File too large", "free space")
    shutil.copytree(killed_in_the_second_epoch, tmp_path / "run")
    refused("train", tiny_recipe, "-o", "run", preexec=largest_file(4096), says=says)
    assert epochs_done(tmp_path / "run") == 1


@pytest.mark.parametrize("out", ["frames.npy/out.net", "folder"])
def test_a_place_where_no_file_can_be_is_refused(
    refused: Refused, network: Path, digits: Path, tmp_path: Path, out: str
) -> None:
    shutil.copy(network.with_name("lowered.graph"), tmp_path / "lowered.graph")
    (tmp_path / "folder").mkdir()
    says = (f"{out}: cannot write", "choose another")
    refused("export", "lowered.graph", "-o", out, says=says)


# -- interrupted ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("lower", "lowered.graph", "-o", "new.graph"),
        ("export", "lowered.graph", "-o", "tiny.net"),
        ("run", "tiny.net", "--frames", "frames.npy", "-o", "new/tiny.trace"),
        ("report", "tiny.net", "--trace", "tiny.trace", "-o", "page.html"),
        ("report", "tiny.net", "--trace", "tiny.trace", "-o", "page.html", "--json"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_ctrl_c_while_a_file_is_written_leaves_nothing_and_says_so(
    refused: Refused, startup: Any, trace: Path, network: Path, arguments: tuple[str, ...]
) -> None:
    shutil.copy(network.with_name("lowered.graph"), trace.with_name("lowered.graph"))
    (trace.parent / "new").mkdir()
    out = arguments[arguments.index("-o") + 1]
    environment = startup(INTERRUPTED.format(event="os.rename", name=out))
    line = refused(*arguments, code=130, env=environment)
    assert line == "neuroport: interrupted; nothing was written"


def test_ctrl_c_after_a_file_was_written_says_which(
    neuroport: Any, startup: Any, trace: Path
) -> None:
    # the table is drawn when the page is there
    environment = startup(INTERRUPTED.format(event="import", name="neuroport.reporting.terminal"))
    arguments = ("report", "tiny.net", "--trace", "tiny.trace", "-o", "page.html")
    done = neuroport(*arguments, cwd=trace.parent, env=environment)
    assert done.returncode == 130
    assert done.stderr == "neuroport: interrupted; page.html was written before\n"
    assert trace.with_name("page.html").read_text().rstrip().endswith("</html>")


# -- killed --------------------------------------------------------------------------------------


def epochs_done(folder: Path) -> int:
    """Epochs in a checkpoint, which must be whole."""
    from neuroport.training.checkpoint import load, read_checkpoint

    load(folder)
    return read_checkpoint(folder).epoch


def under_final_names(files: dict[str, str]) -> dict[str, str]:
    """Without temporary files, whose names begin with a dot."""
    return {n: content for n, content in files.items() if not Path(n).name.startswith(".")}


@pytest.mark.parametrize("out", ["tiny.net", "new.net"])
@pytest.mark.parametrize("moment", ["while it writes", "before it renames"])
def test_export_killed_leaves_the_earlier_file_and_no_half_one(
    neuroport: Any,
    startup: Any,
    snapshot: Any,
    network: Path,
    net: Path,
    tmp_path: Path,
    out: str,
    moment: str,
) -> None:
    shutil.copy(network.with_name("lowered.graph"), tmp_path / "lowered.graph")
    before = snapshot(tmp_path)
    if moment == "while it writes":
        environment, preexec = startup(KILLED_WHILE_WRITING), largest_file(4096)
        killed = -signal.SIGXFSZ
    else:
        environment, preexec = startup(KILLED_AT_RENAME.format(count=1, folder=out)), None
        killed = -signal.SIGKILL
    arguments = ("export", "lowered.graph", "-o", out)
    done = neuroport(*arguments, cwd=tmp_path, env=environment, preexec=preexec)
    assert done.returncode == killed
    after = snapshot(tmp_path)
    assert len(after) == len(before) + 1  # it was killed between opening and renaming
    assert under_final_names(after) == before
    # what is left behind is in nobody's way, and goes with the next write
    assert neuroport(*arguments, cwd=tmp_path).returncode == 0
    assert (tmp_path / out).read_bytes() == network.read_bytes()
    assert list(tmp_path.glob(".*")) == []


def without_seconds(path: Path) -> list[dict[str, Any]]:
    metrics = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: m[name] for name in m if name != "seconds"} for m in metrics]


def kill_at_rename(
    neuroport: Any, startup: Any, recipe: Path, folder: Path, count: int
) -> tuple[int, set[str], int]:
    """Train until a rename; epochs in the checkpoint, files, and epochs in the metrics."""
    environment = startup(KILLED_AT_RENAME.format(count=count, folder=str(folder)))
    done = neuroport("train", recipe, "-o", folder, env=environment)
    assert done.returncode == -signal.SIGKILL
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return epochs_done(folder), names, len(without_seconds(folder / "metrics.jsonl"))


def assert_resumes_to(called: Any, recipe: Path, folder: Path, trained: Path) -> None:
    from safetensors.numpy import load_file

    assert called("train", recipe, "-o", folder).returncode == 0
    want = load_file(trained / "checkpoint.safetensors")
    got = load_file(folder / "checkpoint.safetensors")
    assert got.keys() == want.keys()
    assert all(got[name].tobytes() == want[name].tobytes() for name in want)
    assert (folder / "recipe.toml").read_text() == recipe.read_text()
    assert without_seconds(folder / "metrics.jsonl") == without_seconds(trained / "metrics.jsonl")


# Epochs rename checkpoint and metrics in turn: the third rename is the second epoch's checkpoint.


@pytest.fixture(scope="module")
def killed_in_the_second_epoch(
    neuroport: Any, startup: Any, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a training that was killed when it was about to rename its second checkpoint."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    epochs, names, lines = kill_at_rename(neuroport, startup, tiny_recipe, folder, 3)
    assert (epochs, lines) == (1, 1)
    assert names == {"checkpoint.safetensors", "metrics.jsonl"}
    return folder


def test_train_killed_twice_leaves_whole_files_and_resumes_to_the_same_end(
    neuroport: Any,
    called: Any,
    startup: Any,
    killed_in_the_second_epoch: Path,
    trained: Path,
    tiny_recipe: Path,
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(killed_in_the_second_epoch, tmp_path / "run"))
    # started again, it writes the metrics first: its fifth rename is that of the last metrics
    epochs, _, lines = kill_at_rename(neuroport, startup, tiny_recipe, folder, 5)
    assert (epochs, lines) == (3, 2)
    assert_resumes_to(called, tiny_recipe, folder, trained)
    names = {path.name for path in folder.iterdir()}
    assert names == {"checkpoint.safetensors", "metrics.jsonl", "recipe.toml"}


# -- terminals, places and descriptors -----------------------------------------------------------


def test_a_terminal_obeys_no_word_of_a_file_or_its_name(called: Any, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(
        'summary = "\\u001b]0;TITLE\\u0007x"\nbase = "loihi2"\n'
        '[chips]\nvalue = 1\nsource = "\\u001b[31mx"\nconfidence = "seen"\n'
    )
    messages = {"a": np.zeros((1, 1, 1), np.int32)}
    for name in ("a", "b"):
        port.Trace(messages, {"a": "relay"}, {"engine": f"\x1b[31m{name}\nfake line"}).save(
            tmp_path / f"{name}.trace"
        )
    verbs: list[tuple[str, ...]] = [
        ("targets", "./t.toml"),
        ("compare", "a.trace", "b.trace"),
        ("show", "\x1b[31mx.net"),
        ("targets", "\x1b[31mx"),
        ("train", "\x1b[31mx.toml", "-o", "\x1b[31mrun"),
    ]
    for arguments in verbs:
        done = called(*arguments, cwd=tmp_path)
        said = done.stdout + done.stderr
        assert "\\x1b[31m" in said
        assert said.replace("\n", "").isprintable()


def test_a_place_to_write_is_refused_before_the_work(
    refused: Refused, net: Path, digits: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder.trace").mkdir()
    run = ("run", "tiny.net", "--frames", "frames.npy", "-o")
    refused(*run, "folder.trace", says=("folder.trace: cannot write", "choose another name"))
    refused(*run, "/dev/null", says=("/dev/null: cannot write", "a device"))
    refused(*run, "tiny.net/x.trace", says=("cannot write", "a file where a folder is needed"))
    refused("report", "tiny.net", "--trace", "none", "-o", "/dev/null", says=("cannot write",))
    refused("train", tiny_recipe, "-o", "/proc/nowhere/run", says=("cannot write",))


def test_labels_are_refused_before_the_network_runs(
    refused: Refused, net: Path, digits: Path
) -> None:
    np.save(digits.with_name("labels.npy"), np.zeros((5, 2)))
    arguments = ("run", "nothing.net", "--frames", "frames.npy", "--labels", "labels.npy")
    refused(*arguments, says=("labels.npy: float64 (5, 2)", "labels are integers (N,)"))


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_descriptors_take_no_harm(
    neuroport: Any, net: Path, digits: Path, tmp_path: Path, closed: tuple[int, ...]
) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    arguments = ("run", "tiny.net", "--frames", "frames.npy", "-o", "a.trace")
    done = neuroport(*arguments, cwd=tmp_path, preexec=close)
    assert done.returncode == 0
    assert port.Trace.load(tmp_path / "a.trace").samples == 6
    assert (done.stdout == "") == (1 in closed)


def test_a_name_that_the_encoding_lacks_is_written_out(
    neuroport: Any, net: Path, tmp_path: Path
) -> None:
    name = "nètz.net"
    net.rename(tmp_path / name)
    done = neuroport("check", name, cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    # click writes UTF-8 where the encoding is ASCII by mistake
    assert done.stdout.startswith(
        (f"{name}: runs on lava-cpu, ", "n\\xe8tz.net: runs on lava-cpu, ")
    )


@pytest.mark.parametrize("change", [{"widths": [65536] * 3}, {"blocks": 5 * 10**7}])
def test_a_small_file_that_asks_for_terabytes_is_refused_at_once(
    refused: Refused, run_folder: Path, tiny_recipe: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    pytest.importorskip("torch")
    path = run_folder / "checkpoint.safetensors"
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["neuroport"])
    about["recipe"]["network"].update(change)
    del about["hash"]
    head = json.dumps({"__metadata__": {"neuroport": json.dumps(about)}}).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head)
    refused("quantize", "run", says=("checkpoint.safetensors",))
    text = "".join(f"{key} = {value}\n" for key, value in change.items())
    (tmp_path / "mine.toml").write_text(f"[network]\n{text}")
    refused("train", "mine.toml", "-o", "other", says=("network", "use"))
