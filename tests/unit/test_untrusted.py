"""Files, folders and words of strangers: bounded, refused, or shown as text."""

from __future__ import annotations

import os
import socket
import stat
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroport.errors import (
    FormatError,
    NeuroportError,
    RecipeError,
    StorageError,
    TargetError,
    printable,
)
from neuroport.files import (
    MOST_TOML,
    cache_folder,
    check_file,
    check_folder,
    parse_json,
    parse_toml,
    read_array,
    read_bytes,
    write_atomic,
)

# -- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ein Knöchel, 零", "ein Knöchel, 零"),
        ("two\n\tlines", "two\n\tlines"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb", "a\\rb"),
        ("\u202eevil", "\\u202eevil"),
        ("\udcff.net", "\\udcff.net"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_an_error_can_be_printed_and_does_not_fill_the_screen() -> None:
    error = NeuroportError("\x1b[31m" + "x" * 10**6, "a traceback\n\x1b[0m")
    assert error.message.isprintable()
    assert len(error.message) < 5000
    assert error.detail == "a traceback\n\\x1b[0m"


def test_the_middle_of_a_long_word_is_left_out_and_that_of_a_path_is_not() -> None:
    path = "/" + "/".join("p" * 255 for _ in range(9)) + "/q.toml"
    said = NeuroportError(f"{path}: name is {'x' * 10**5!r}; use letters").message
    assert said.startswith(f"{path}: name is 'xxx")
    assert said.endswith("xxx'; use letters")
    assert len(said) < len(path) + 300


@pytest.mark.parametrize("key", ["generation", "board", "x" * 10**5])
def test_a_site_of_long_words_is_refused_in_a_line(key: str, tmp_path: Path) -> None:
    from neuroport.backends.loihi2.site import load_site

    path = tmp_path / "site.toml"
    value = 7 if key == "board" else f'"{"x" * 10**5}"'
    path.write_text(f"{key} = {value}\nchips = 1\n[slurm]\n")
    with pytest.raises(TargetError) as caught:
        load_site(path)
    assert caught.value.message.startswith(str(path))
    assert len(caught.value.message) < 600 + len(str(path))


# -- ordinary files ------------------------------------------------------------------------------


def special(folder: Path, kind: str) -> Path:
    path = folder / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device"])
def test_what_is_no_ordinary_file_is_neither_read_nor_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from neuroport.graph import store
    from neuroport.recipe import load_recipe
    from neuroport.runs.frames import load_frames
    from neuroport.runs.trace import Trace
    from neuroport.targets.target import load_target

    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    path = special(Path("."), kind)
    for read in (read_bytes, load_frames, Trace.load, store.load, load_recipe):
        with pytest.raises(StorageError, match=kind):
            read(path)
    with pytest.raises(TargetError):
        load_target(f"./{kind}")
    for write in (check_file, lambda p: write_atomic(p, b"new")):
        with pytest.raises(StorageError, match=f"cannot write.*{kind}"):
            write(path)
    assert not stat.S_ISREG(path.stat().st_mode)


def test_no_more_is_read_than_a_file_of_its_kind_has(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("#" * (MOST_TOML + 1))
    from neuroport.recipe import load_recipe

    with pytest.raises(StorageError, match="more than 262,144 bytes"):
        load_recipe(tmp_path / "a.toml")


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 10_000 + "]" * 10_000,
        "x = " + "{a=" * 5000 + "1" + "}" * 5000,
        ".".join(["a"] * 20_000) + " = 1",
        ".".join(["a"] * 100) + " = 1",
        "seed = " + "9" * 6000,
        "seed = 0x" + "f" * 6000,
        "seed = " + "9" * 4000,
        "a = 1979-99-99",
        "a = \ud800",
    ],
)
def test_hostile_toml_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^mine\.toml: "):
        parse_toml(text, "mine.toml", RecipeError)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 900 + "]" * 900, "9" * 4000, "9" * 5000, "{"]
)
def test_hostile_json_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match=r"^a\.json: "):
        parse_json(text, "a.json")


def test_a_chain_of_bases_ends(tmp_path: Path) -> None:
    from neuroport.targets.target import load_target

    for number in range(100):
        text = f'summary = "x"\nbase = "c{number + 1}.toml"\n'
        (tmp_path / f"c{number}.toml").write_text(text)
    with pytest.raises(TargetError, match="more than 16 bases"):
        load_target(tmp_path / "c0.toml")


@pytest.mark.parametrize(
    "header",
    [
        "(" * 4000,
        "{'descr': '<i8', 'fortran_order': False, 'shape': (10**15,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000000,)}",
        "{'descr': '|V1000000000', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<c16', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (2,)}",
        "",
    ],
)
def test_a_hostile_array_is_refused(tmp_path: Path, header: str) -> None:
    content = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.npy: "):
        read_array(tmp_path / "a.npy", "frames")


def test_the_first_samples_of_a_large_file_are_read_alone(tmp_path: Path) -> None:
    from neuroport.runs.frames import load_frames

    shape = (2, 1_000_000, 1, 28, 28)  # a sparse file of 1.6 GB
    file = np.lib.format.open_memmap(tmp_path / "f.npy", "w+", np.uint8, shape)
    file[1, 1] = 7
    del file
    found = load_frames(tmp_path / "f.npy", 2)
    assert found.shape == (2, 2, 1, 28, 28)
    assert found.sum() == 7 * 28 * 28
    assert found.base is None or found.base.size == found.size


# -- places --------------------------------------------------------------------------------------


def test_a_place_is_checked_without_changing_it(tmp_path: Path) -> None:
    assert check_file(tmp_path / "new" / "a.net") == tmp_path / "new" / "a.net"
    assert check_folder(tmp_path / "new") == tmp_path / "new"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError, match="cannot write"):
        check_file(tmp_path / ("n" * 300))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot write"):
        check_file(tmp_path / "a.net")


def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # no entry for anybody
    with pytest.raises(StorageError, match="set HOME, or XDG_CACHE_HOME"):
        cache_folder()


# -- the kernel cache ----------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library in a cache of its own; ``kernels.library`` of these sources gives it."""
    compilation = pytest.importorskip("neuroport.kernels.compilation")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "small.c"
    source.write_text("long network_lanes(void) { return 41 + 1; }\n")
    monkeypatch.setattr(compilation, "HEADER", source)
    compilation._say_once.cache_clear()
    return Path(load(source)._name)


def load(source: Path, *flags: str) -> Any:
    """The library as compiled by ``CC="cc FLAGS"``."""
    import shutil

    from neuroport.kernels import compilation

    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    return compilation.library([compiler, *flags], ("-fPIC",), (source,))


def test_flags_given_in_cc_are_another_library(library: Path, tmp_path: Path) -> None:
    source = tmp_path / "small.c"
    source.write_text("#ifndef N\n#define N 42\n#endif\nlong network_lanes(void) { return N; }\n")
    assert load(source).network_lanes() == 42
    assert load(source, "-DN=7").network_lanes() == 7


@pytest.mark.parametrize("damage", ["truncated", "empty", "another", "writable by others"])
def test_a_library_that_is_not_as_it_was_written_is_made_again(
    library: Path, tmp_path: Path, damage: str
) -> None:
    whole = library.read_bytes()
    assert stat.S_IMODE(library.stat().st_mode) == 0o600
    if damage == "writable by others":
        library.chmod(0o666)
    else:
        library.unlink()  # the one that this process runs stays whole
        library.write_bytes(
            {"truncated": whole[:1000], "empty": b"", "another": b"no" + whole[2:]}[damage]
        )
    again = load(tmp_path / "small.c")
    assert again.network_lanes() == 42
    assert library.read_bytes()[-41:-32] == b"neuroport"
    assert stat.S_IMODE(library.stat().st_mode) == 0o600


def test_a_cache_that_cannot_be_had_is_said_once_and_does_no_harm(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "small.c"))  # a file
    with pytest.warns(UserWarning, match="not kept between runs.*XDG_CACHE_HOME"):
        assert load(tmp_path / "small.c").network_lanes() == 42
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(tmp_path / "small.c").network_lanes() == 42


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="gives a file to another user")
def test_a_library_of_another_user_is_not_loaded(library: Path, tmp_path: Path) -> None:
    os.chown(library, 12345, 12345)
    assert load(tmp_path / "small.c").network_lanes() == 42
    assert library.stat().st_uid == 0
    os.chown(library.parent, 12345, 12345)
    with pytest.warns(UserWarning, match="belongs to another user"):
        assert load(tmp_path / "small.c").network_lanes() == 42
