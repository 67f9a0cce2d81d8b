"""Writing either happens as a whole or not at all, whatever interrupts it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from neuroport.errors import FormatError, StorageError
from neuroport.files import (
    check_file,
    check_folder,
    read_bytes,
    read_json,
    write_atomic,
    write_json,
)

OLD = b"what was there before"


def limited(path: Path, size: int, limit: int) -> subprocess.CompletedProcess[str]:
    """Write ``size`` bytes in a process whose files may not grow beyond ``limit``."""
    code = (
        "import sys\n"
        "from neuroport.errors import StorageError\n"
        "from neuroport.files import write_atomic\n"
        "try:\n"
        "    write_atomic(sys.argv[1], b'n' * int(sys.argv[2]))\n"
        "except StorageError as error:\n"
        "    print(error)\n"
        "    sys.exit(7)\n"
    )
    return subprocess.run(
        [sys.executable, "-B", "-c", code, str(path), str(size)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_content_is_written_and_the_path_returned(tmp_path: Path) -> None:
    path = write_atomic(str(tmp_path / "a.bin"), b"\0\1\2")
    assert path == tmp_path / "a.bin"
    assert path.read_bytes() == b"\0\1\2"
    assert write_atomic(path, "zwölf").read_text(encoding="utf-8") == "zwölf"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_symbolic_link_stays_and_the_file_that_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(Path("data") / "real")
    for content in ("one", "two"):  # it need not be there
        assert write_atomic(tmp_path / "link", content) == tmp_path / "link"
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "data" / "real").read_text() == content
    assert os.listdir(tmp_path / "data") == ["real"]


@pytest.mark.parametrize(
    "name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/../dev/stderr"]
)
def test_streams_of_a_process_are_not_replaced(name: str) -> None:
    for write in (check_file, lambda path: write_atomic(path, b"")):
        with pytest.raises(StorageError, match="is a stream of a process; give the name of a file"):
            write(name)


def test_folders_are_made(tmp_path: Path) -> None:
    assert write_atomic(tmp_path / "a" / "b" / "c.txt", "x").read_text() == "x"


def test_rights_are_those_of_a_plainly_written_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        (tmp_path / "plain").write_bytes(b"x")
        path = write_atomic(tmp_path / "atomic", b"x")
        assert os.umask(0o027) == 0o027, "writing must not change the umask"
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("limit", [0, 1, 4096, 100_000, 199_999])
def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "a.net"
    path.write_bytes(OLD)
    done = limited(path, 200_000, limit)
    assert done.returncode == 7, done.stderr
    assert str(path) in done.stdout
    assert os.strerror(errno.EFBIG) in done.stdout
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["a.net"]


def test_full_disk_leaves_no_new_file(tmp_path: Path) -> None:
    assert limited(tmp_path / "a.net", 200_000, 1000).returncode == 7
    assert os.listdir(tmp_path) == []


def test_file_that_just_fits_is_written(tmp_path: Path) -> None:
    done = limited(tmp_path / "a.net", 200_000, 200_000)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "a.net").read_bytes() == b"n" * 200_000


@pytest.mark.parametrize("call", ["write", "fsync", "chmod", "replace"])
def test_error_of_any_step_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.net"
    path.write_bytes(OLD)
    if call == "write":  # a device that is always full stands in for the temporary file
        real = os.fdopen

        def full(handle: int, mode: str) -> Any:
            os.close(handle)
            return real(os.open("/dev/full", os.O_WRONLY), mode)

        monkeypatch.setattr(os, "fdopen", full)
    else:

        def fail(*_: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError) as caught:
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert str(path) in str(caught.value)
    assert os.strerror(errno.ENOSPC) in str(caught.value)
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["a.net"]


def test_interruption_from_the_keyboard_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.net"
    path.write_bytes(OLD)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["a.net"]


def test_content_reaches_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, rename = os.fsync, os.replace

    def fsync(handle: int) -> None:
        order.append(f"sync {os.fstat(handle).st_size}")
        sync(handle)

    def replace(source: str, target: Path) -> None:
        order.append("rename")
        assert Path(source).parent == tmp_path, "a rename is atomic within one folder only"
        rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomic(tmp_path / "a.net", b"n" * 12345)
    assert order[:2] == ["sync 12345", "rename"]


def test_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="taken: cannot write"):
        write_atomic(tmp_path / "taken", b"x")
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(StorageError, match="cannot write"):
        write_atomic(tmp_path / "file" / "a.net", b"x")
    assert sorted(os.listdir(tmp_path)) == ["file", "taken"]
    assert (tmp_path / "file").read_bytes() == OLD


def test_longest_name_that_the_disk_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".net")
    path.write_bytes(OLD)
    assert write_atomic(path, b"new").read_bytes() == b"new"


WRITER = """\
import hashlib, sys
from neuroport.files import write_atomic
version = 0
while True:
    body = hashlib.sha256(str(version).encode()).digest() * (200_000 + 1000 * (version % 7))
    write_atomic(sys.argv[1], version.to_bytes(8, "little") + body)
    version += 1
"""


def test_killed_writer_leaves_one_complete_version(tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    rng = random.Random(0)
    seen = set()
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) as child:
            deadline = time.monotonic() + 30
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.1 + rng.random() * 0.25)
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
        content = path.read_bytes()
        version = int.from_bytes(content[:8], "little")
        digest = hashlib.sha256(str(version).encode()).digest()
        assert content[8:] == digest * (200_000 + 1000 * (version % 7))
        seen.add(version)
    assert len(seen) > 1, "the writers were killed before they wrote anything"
    # nobody can tidy up after SIGKILL but the next writer of the same file
    write_atomic(path, b"new")
    assert os.listdir(tmp_path) == ["a.net"]


# about to rename its first file, a writer waits for a line
WAITING = """\
import sys
from neuroport.files import write_atomic

def hook(event, arguments):
    if event == "os.rename":
        print("about to rename", flush=True)
        sys.stdin.readline()

sys.addaudithook(hook)
write_atomic(sys.argv[1], "its own")
"""


def waiting_writer(path: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that has written ``path`` but for the rename, and its temporary file."""
    before = set(path.parent.glob(".*"))
    child = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "about to rename\n"
    (temporary,) = set(path.parent.glob(".*")) - before
    return child, temporary


def test_temporary_file_of_a_killed_writer_goes_with_the_next_write_of_the_same_file(
    tmp_path: Path,
) -> None:
    child, temporary = waiting_writer(tmp_path / "a.net")
    child.kill()
    child.communicate()
    write_atomic(tmp_path / "b.net", b"another file")
    (tmp_path / "a.net").mkdir()  # in the way: this write fails
    with pytest.raises(StorageError):
        write_atomic(tmp_path / "a.net", b"new")
    assert temporary.exists()
    (tmp_path / "a.net").rmdir()
    write_atomic(tmp_path / "a.net", b"new")
    assert sorted(os.listdir(tmp_path)) == ["a.net", "b.net"]


def test_temporary_file_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    child, temporary = waiting_writer(tmp_path / "a.net")
    write_atomic(tmp_path / "a.net", b"new")
    assert temporary.exists()
    child.communicate("go on\n", timeout=30)
    assert child.returncode == 0
    assert (tmp_path / "a.net").read_bytes() == b"its own"
    assert os.listdir(tmp_path) == ["a.net"]


def test_temporary_file_of_another_machine_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that machines share, a process ID that is unknown here may live elsewhere."""
    child, temporary = waiting_writer(tmp_path / "a.net")
    child.kill()
    child.communicate()
    monkeypatch.setattr(platform, "node", lambda: "another")
    write_atomic(tmp_path / "a.net", b"new")
    assert temporary.exists()


def test_folder_that_cannot_be_made_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "folder")
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    for path in (tmp_path / "file", tmp_path / "file" / "run" / "one", tmp_path / "nowhere"):
        with pytest.raises(StorageError, match="choose another folder or move the file away"):
            check_folder(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "nowhere"]


def test_names_that_are_no_text_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xff")
    for write in (check_file, lambda path: write_atomic(path, OLD), check_folder):
        with pytest.raises(StorageError) as caught:
            write(tmp_path / name)
        assert "\\xff' is not UTF-8; choose another name" in str(caught.value)
    with pytest.raises(StorageError, match="is not UTF-8"):  # what trains in it could not read it
        check_folder(tmp_path / name / "run")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems have names of text only")
def test_a_file_may_lie_in_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"bad\xff") / "a.bin"
    assert write_atomic(check_file(path), OLD).read_bytes() == OLD


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"name": "ä", "list": [1, 2.5, None, True]}
    path = write_json(tmp_path / "a.json", value)
    assert read_json(path) == value
    assert path.read_bytes().endswith(b"}\n")
    assert json.loads(path.read_text()) == value


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": }'])
def test_broken_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read_json(path)
    assert str(path) in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        for read in (read_bytes, read_json):
            with pytest.raises(StorageError) as caught:
                read(path)
            assert str(path) in str(caught.value)
