"""Runs on clusters of real processes are those of one process, whatever of the cluster is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from benchmarks.steady import descendants
from neuroport.errors import (
    BackendError,
    CompareError,
    FormatError,
    FramesError,
    StorageError,
)
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Node
from neuroport.graph.store import save
from neuroport.runs.frames import frames_hash
from neuroport.runs.shards import Shard
from neuroport.runs.trace import Trace
from neuroport.scale import spread, task
from neuroport.scale.clusters import MOST_HERE, check, connected, read_slurm
from neuroport.scale.runs import record, verify
from neuroport.scale.shard_folder import ShardFolder
from neuroport.scale.spread import TRIES
from neuroport.version import __version__
from tests.conftest import Neuroport
from tests.helpers.dask_processes import Running, runs
from tests.kinds.fatal_lif import FATAL, FatalLif
from tests.unit.runs.test_shards import SAMPLES, frames, network, same_arrays

distributed = pytest.importorskip("distributed")
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two workers here."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as found,
    ):
        yield found


@pytest.mark.parametrize("reached", [True, False])
def test_a_run_on_two_workers_is_that_of_one_process(
    client: Any, tmp_path: Path, reached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that reach the folder of the run write there; others send what they did."""
    seen: list[tuple[int, int]] = []
    sent: list[int] = []
    keep = ShardFolder.keep

    def kept(self: ShardFolder, number: int, content: bytes) -> None:
        sent.append(number)
        keep(self, number, content)

    monkeypatch.setattr(ShardFolder, "keep", kept)
    if not reached:
        nowhere = {"place": str(tmp_path / "nowhere" / "1"), "token": "1"}
        monkeypatch.setattr(ShardFolder, "told", lambda self, place: nowhere)
    stored = port.record(
        network(), frames(), tmp_path / "a.trace", cluster=client, shards=3,
        progress=lambda *done: seen.append(done),
    )  # fmt: skip
    same_arrays(stored.load(), port.run(network(), frames()))
    assert [each["number"] for each in stored.provenance["shards"]] == [1, 2, 3]
    assert seen[-1] == (23, 23)
    assert len(seen) == 3
    assert sorted(sent) == ([] if reached else [1, 2, 3])
    assert os.listdir(tmp_path) == ["a.trace"]


def test_a_shard_that_does_not_appear_is_run_again_and_then_sent(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers write beside the place where shards are looked for, as if it were another disk."""
    sent: list[int] = []
    keep, told = ShardFolder.keep, ShardFolder.told

    def kept(self: ShardFolder, number: int, content: bytes) -> None:
        sent.append(number)
        keep(self, number, content)

    def beside(self: ShardFolder, place: Path) -> dict[str, Any]:
        return told(self, place.with_name(f"elsewhere-{place.name}"))

    monkeypatch.setattr(ShardFolder, "keep", kept)
    monkeypatch.setattr(ShardFolder, "told", beside)
    monkeypatch.setattr(spread, "APPEAR_SECONDS", 0.2)
    stored = port.record(network(), frames(), tmp_path / "a.trace", cluster=client, shards=3)
    same_arrays(stored.load(), port.run(network(), frames()))
    assert sorted(sent) == [1, 2, 3]
    assert sorted(os.listdir(tmp_path)) == ["a.trace", "a.trace.shards"]
    assert all(name.startswith("elsewhere-") for name in os.listdir(tmp_path / "a.trace.shards"))


@pytest.mark.parametrize("threshold", [20, 90])
def test_a_verification_on_two_workers_is_that_of_one_process(client: Any, threshold: int) -> None:
    given = frames()
    given[:, :10] = 0  # silent: any threshold gives the same
    both = network(), network(threshold)
    on = ("reference", "reference")
    found = verify(*both, given, cluster=client, shards=3, on=on)
    want = port.verify(*both, given, on=on)
    assert found.to_dict() | {"cause": None, "text": ""} == want.to_dict() | {
        "cause": None, "text": "",
    }  # fmt: skip
    assert found.equal == (threshold == 20)


def test_what_was_done_is_not_run_again_and_another_run_is_refused(
    client: Any, tmp_path: Path
) -> None:
    out = tmp_path / "a.trace"

    class StoppedError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        record(network(), frames(), out, cluster=client, shards=4, progress=stop)
    folder = tmp_path / "a.trace.shards"
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("0*")}
    assert 1 <= len(kept) < 4
    assert not out.exists()
    with pytest.raises(CompareError, match=r"a\.trace\.shards holds shards of another run \(of ot"):
        record(network(30), frames(), out, cluster=client, shards=4)
    listed: list[int] = []
    stored = record(
        network(), frames(), out, cluster=client, shards=4,
        progress=lambda done, total: listed.append(done),
    )  # fmt: skip
    assert len(listed) == 4
    same_arrays(stored.load(), port.run(network(), frames()))
    assert not folder.exists()


def stop(done: int, total: int) -> None:
    raise KeyboardInterrupt


def first_shard(client: Any, out: Path) -> Path:
    """What a run that is interrupted as soon as a shard is done leaves of it."""
    with pytest.raises(KeyboardInterrupt):
        record(network(), frames(), out, cluster=client, shards=4, progress=stop)
    return min(out.with_name(f"{out.name}.shards").glob("0*"))


def test_a_shard_that_an_interrupted_run_still_writes_is_told_once(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.trace"
    kept = first_shard(client, out)
    content = kept.read_bytes()
    kept.unlink()

    @contextmanager
    def late(cluster: Any) -> Iterator[Any]:
        kept.write_bytes(content)  # its worker was not done when the run began anew
        yield cluster

    monkeypatch.setattr("neuroport.scale.runs.connected", late)
    listed: list[int] = []
    stored = record(
        network(), frames(), out, cluster=client, shards=4,
        progress=lambda done, total: listed.append(done),
    )  # fmt: skip
    assert len(listed) == 4
    assert listed[-1] == frames().shape[1]
    same_arrays(stored.load(), port.run(network(), frames()))


def test_a_damaged_shard_is_named_and_can_be_removed(client: Any, tmp_path: Path) -> None:
    out = tmp_path / "a.trace"
    kept = first_shard(client, out)
    damaged = bytearray(kept.read_bytes())
    damaged[-1] ^= 1
    kept.write_bytes(damaged)
    said = rf"shard {int(kept.name)}/4: .*; remove .*{kept.name}, and the same command runs this"
    with pytest.raises(FormatError, match=said):
        record(network(), frames(), out, cluster=client, shards=4).close()
    kept.unlink()
    with record(network(), frames(), out, cluster=client, shards=4) as stored:
        same_arrays(stored.load(), port.run(network(), frames()))


def test_a_damaged_shard_of_a_verification_is_named_too(client: Any, tmp_path: Path) -> None:
    out = tmp_path / "a.json"

    def run(**more: Any) -> Any:
        return verify(network(), None, frames(), cluster=client, shards=4, out=out, **more)

    with pytest.raises(KeyboardInterrupt):
        run(progress=stop)
    kept = min((tmp_path / "a.json.shards").glob("0*"))
    kept.write_text("{}")
    said = rf"shard {int(kept.name)}/4: .*; remove .*{kept.name}, and the same command runs this"
    with pytest.raises(FormatError, match=said):
        run()
    kept.unlink()
    assert run()


@pytest.mark.parametrize("place", ["", ".", "/", "taken", None])
def test_a_place_where_no_file_can_be_written_is_refused_before_any_work(
    place: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError):
        record(network(), frames(), place, cluster="local:1")  # type: ignore[arg-type]
    if place is not None:
        with pytest.raises(StorageError):
            verify(network(), None, frames(), cluster="local:1", out=place)
    assert os.listdir(tmp_path) == ["taken"]


def test_numbers_of_numpy_travel_and_other_objects_are_refused(client: Any, tmp_path: Path) -> None:
    stored = record(
        network(), frames(), tmp_path / "a.trace", "fast", cluster=client,
        shards=np.int64(3), batch=np.int64(2),
    )  # fmt: skip
    same_arrays(stored.load(), port.run(network(), frames()))
    assert verify(network(), None, frames(), cluster=client, shards=3, together=np.int64(2))
    for option, said in (
        ({"shards": object()}, "shards is an object; give a whole number from 1 on"),
        ({"deadline": Fraction(5)}, "deadline is .* does not travel to a cluster; give numbers"),
    ):
        with pytest.raises(BackendError, match=said):
            record(network(), frames(), tmp_path / "b.trace", "lava-cpu", cluster=client, **option)
    assert os.listdir(tmp_path) == ["a.trace"]


def test_frames_that_change_during_a_run_are_refused(client: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", frames())
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="r")
    changing = np.load(tmp_path / "frames.npy", mmap_mode="r+")

    def change(done: int, total: int) -> None:
        changing[...] = 0

    with pytest.raises(FramesError, match="the frames have changed while they ran"):
        record(network(), mapped, tmp_path / "a.trace", cluster=client, shards=4, progress=change)
    assert sorted(os.listdir(tmp_path)) == ["frames.npy"]


@pytest.mark.parametrize("fault", ["another token", "no folder", "a file", "not writable there"])
def test_a_worker_that_cannot_write_into_the_folder_of_the_run_sends_its_shard(
    tmp_path: Path, fault: str
) -> None:
    """A folder of that path on another machine or of an earlier run, or a disk that is full."""
    folder = ShardFolder(tmp_path / "a.trace.shards", {"shards": 1})
    told = folder.told(folder.path(1))
    if fault == "another token":
        ShardFolder(folder.folder, {"shards": 1})  # the same command, given again
    elif fault == "no folder":
        folder.remove()
    elif fault == "a file":
        folder.remove()
        folder.folder.write_bytes(b"")
    else:
        folder.path(1).mkdir()
    answer = task.run_shard(*_whole(tmp_path, told))
    (tmp_path / "a.trace").write_bytes(answer["result"])
    same_arrays(Trace.load(tmp_path / "a.trace"), port.run(network(), frames()))
    assert not folder.path(1).is_file()


def test_a_worker_that_can_write_there_sends_nothing(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "a.trace.shards", {"shards": 1})
    assert task.run_shard(*_whole(tmp_path, folder.told(folder.path(1))))["result"] is None
    same_arrays(Trace.load(folder.path(1)), port.run(network(), frames()))


def test_files_of_others_beside_the_shards_stay(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "a.trace.shards", {"shards": 2})
    folder.keep(1, b"a shard")
    (folder.folder / ".neuroport-of-a-killed-worker").touch()
    (folder.folder / "notes.txt").write_text("mine")
    folder.remove()
    assert os.listdir(folder.folder) == ["notes.txt"]
    (folder.folder / "notes.txt").unlink()
    ShardFolder(folder.folder, {"shards": 2}).remove()
    assert not folder.folder.exists()


def _whole(place: Path, told: dict[str, Any]) -> tuple[dict[str, Any], tuple[bytes], np.ndarray]:
    """The only shard of a run, as a worker gets it."""
    shard = Shard(1, 1).told(SAMPLES, frames_hash(frames()))
    job = {"version": __version__, "verb": "record", "kinds": {}, "on": ["reference"]}
    job |= {"options": {}, "together": None, "shard": shard, **told}
    return job, (save(network(), place / "a.graph").read_bytes(),), frames()


def test_shards_without_a_plan_are_not_taken_for_those_of_a_run(tmp_path: Path) -> None:
    """A worker that was late may have made the folder again."""
    (tmp_path / "a.trace.shards").mkdir()
    (tmp_path / "a.trace.shards" / "000002").write_bytes(b"")
    with pytest.raises(
        CompareError, match=r"a\.trace\.shards holds shards of an unknown run: plan"
    ):
        ShardFolder(tmp_path / "a.trace.shards", {"shards": 3})


def test_a_shards_process_does_not_inherit_what_dask_sets_for_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dask's setting of malloc every large array of a shard would be made of new pages."""
    given: list[dict[str, str]] = []

    class Seen(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            given.append(options["env"])
            super().__init__(*args, **options)

    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    monkeypatch.setattr(task.subprocess, "Popen", Seen)
    answer = task.run_shard(*_whole(tmp_path, {}))
    (tmp_path / "a.trace").write_bytes(answer["result"])
    same_arrays(Trace.load(tmp_path / "a.trace"), port.run(network(), frames()))
    (environment,) = given
    assert "MALLOC_TRIM_THRESHOLD_" not in environment
    assert environment["OMP_NUM_THREADS"] == "1"


def test_files_that_lie_in_the_working_directory_are_not_executed(
    tmp_path: Path, neuroport: Neuroport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the processes of a cluster, nor by those of its shards."""
    graph = save(network(), tmp_path / "a.graph")
    np.save(tmp_path / "frames.npy", frames())
    there = tmp_path / "downloads"
    there.mkdir()
    for name in ("numpy", "runpy", "multiprocessing", "pickle", "socket", "distributed", "secrets"):
        (there / f"{name}.py").write_text(f"open('executed {name}', 'w').close()\n")
    monkeypatch.chdir(there)
    neuroport(
        "run", str(graph), "--frames", str(tmp_path / "frames.npy"), "--cluster", "local:1",
        "-o", "out.trace",
    )  # fmt: skip
    same_arrays(Trace.load("out.trace"), port.run(network(), frames()))
    assert not list(there.glob("executed*"))


def fatal() -> tuple[Graph, np.ndarray]:
    """Samples 9 and 10 kill the process that runs them."""
    nodes: list[Node] = [
        Input("frames", (4,), 12),
        Dense("in", ("frames",), np.eye(4, dtype=np.int64)),
        FatalLif("neurons", ("in",), np.array([20])),
    ]
    given = np.random.default_rng(0).integers(0, 16, (3, 20, 4))
    given[1, 9:11, 2] = FATAL
    return Graph(nodes, 3), given


def test_a_poisoned_shard_is_reported_after_three_tries_and_the_others_are_kept(
    client: Any, tmp_path: Path
) -> None:
    graph, given = fatal()
    with pytest.raises(BackendError) as caught:
        record(graph, given, tmp_path / "a.trace", cluster=client, shards=4)
    said = caught.value.message
    assert f"shard 2/4 failed {TRIES} times (and 1 more shards)" in said
    assert "killed by signal 9" in said
    assert "2 of 4 shards are done and kept in" in said
    assert sorted(path.name[-1] for path in (tmp_path / "a.trace.shards").glob("0*")) == ["1", "4"]
    assert len(client.nthreads()) == 2


def test_what_every_worker_would_refuse_is_refused_before(client: Any, tmp_path: Path) -> None:
    out = tmp_path / "a.trace"
    wrong = frames()
    wrong[:] = 99
    for given, options, said in (
        (wrong, {}, "the input takes 0..15"),
        (frames(), {"on": "fast", "batch": 0}, "batch is 0"),
        (frames(), {"on": "loihi2"}, "does not run on a cluster"),
        (frames(), {"shards": 24}, "a shard would be empty"),
        (frames(), {"shard": "1/2"}, "leave them out"),
    ):
        with pytest.raises(port.NeuroportError, match=said):
            record(network(), given, out, cluster=client, **options)  # type: ignore[arg-type]
    for text in ("local:0", "local", "somewhere", "tcp:host", 5):
        with pytest.raises(BackendError, match="give local:N"):
            record(network(), frames(), out, cluster=text)  # type: ignore[arg-type]
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("local:99999999999", "use at most "),
        (f"local:{'9' * 5000}", "use at most "),
        (f"local:{max(MOST_HERE, 4 * (os.cpu_count() or 1)) + 1}", "use at most "),
        ("local:0", "give local:N"),
        ("local:²", "give local:N"),
        ("tcp://", "give local:N"),
        ("tcp://host", "give local:N"),
        ("tcp://host:0", "give local:N"),
        ("tcp://host:65536", "give local:N"),
        ("tcp://[::x]:q", "give local:N"),
        ("tcp://[::x]:1", "give local:N"),
        ("tcp://a b:1", "give local:N"),
        (f"tcp://{'a' * 64}.org:1", "give local:N"),
        ("", "give local:N"),
    ],
)
def test_a_text_that_is_no_cluster_is_refused_before_anything_is_written(
    called: Neuroport, tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(BackendError, match=says):
        check(text)
    if text:
        np.save(tmp_path / "frames.npy", frames())
        save(network(), tmp_path / "a.graph")
        run = ("run", "a.graph", "--frames", "frames.npy", "-o", "a.trace", "--cluster", text)
        done = called(*run, cwd=tmp_path)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "a.trace.shards").exists()


def test_a_cluster_is_a_few_processes_a_scheduler_or_jobs(tmp_path: Path) -> None:
    for text in (
        "local:1",
        "local:064",
        "tcp://a-b.c:8786",
        "tls://[::1]:1",
        "tcp://1.2.3.4:65535",
    ):
        check(text)
    (tmp_path / "a.toml").write_text("jobs = 100000000\ncores = 1\nmemory = '1 GB'\n")
    with pytest.raises(BackendError, match="jobs is 100000000; ask Slurm for 10,000 at most"):
        check(f"slurm:{tmp_path / 'a.toml'}")


def test_a_scheduler_that_asks_for_certificates_is_told_to_have_none() -> None:
    says = "needs certificates, and dask has none"
    with pytest.raises(BackendError, match=says), connected("tls://127.0.0.1:1"):
        pass


def test_slurm_gets_what_the_file_says(tmp_path: Path) -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    example = ROOT / "deploy" / "scale" / "slurm.toml"
    fields = read_slurm(str(example))
    assert fields.pop("jobs") == 4
    assert fields.pop("patience") == 24 * 3600
    with jobqueue.SLURMCluster(**fields) as cluster:  # asks for nothing yet
        script = cluster.job_script()
    assert "#SBATCH --cpus-per-task=4" in script
    assert "#SBATCH -t 02:00:00" in script
    assert "distributed.cli.dask_worker" in script
    (tmp_path / "a.toml").write_text("jobs = 3\ncores = 4\n")
    with pytest.raises(BackendError, match=r"a\.toml: no memory; say what a job has"):
        read_slurm(str(tmp_path / "a.toml"))
    if not any((Path(p) / "sbatch").exists() for p in os.environ["PATH"].split(os.pathsep)):
        with pytest.raises(BackendError, match="sbatch is not here"):
            record(network(), frames(), tmp_path / "a", cluster=f"slurm:{example}")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("processes = 0", r"SLURMCluster refuses it .ZeroDivisionError"),
        ("nodes = 3", r"SLURMCluster refuses it .*unexpected keyword argument 'nodes'"),
        ("job_script_prologue = 'source a'", "job_script_prologue is 'source a'; give a list"),
        ("patience = 0", "patience is 0; say for how many seconds jobs may wait"),
    ],
)
def test_jobs_that_slurm_cannot_have_are_refused(
    line: str, says: str, slurm: Callable[[str], str], tmp_path: Path
) -> None:
    pytest.importorskip("dask_jobqueue")
    with pytest.raises(BackendError, match=says):
        record(network(), frames(), tmp_path / "a", cluster=f"slurm:{slurm(line)}")


def test_what_sbatch_says_is_told(
    slurm: Callable[[str], str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dask_jobqueue")
    jobs = slurm("")
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho no such partition >&2; exit 1\n")
    with pytest.raises(BackendError, match=r"Slurm takes no such job .*no such partition"):
        record(network(), frames(), tmp_path / "a", cluster=f"slurm:{jobs}")
    assert "Traceback" not in capfd.readouterr().err


def test_jobs_may_wait_in_the_queue(
    slurm: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setattr(spread, "WAIT_SECONDS", 0.1)
    stored = record(
        network(), frames(), tmp_path / "a", cluster=f"slurm:{slurm('patience = 60')}", shards=2
    )
    same_arrays(stored.load(), port.run(network(), frames()))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Slurm's commands, as far as a job needs them: it begins after some seconds, here."""
    (tmp_path / "bin").mkdir()
    sbatch = 'cp "$1" "$1.job"; (sleep 3; exec sh "$1.job") > /dev/null 2>&1 &\necho job 7\n'
    for name, does in (("sbatch", sbatch), ("scancel", "")):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{does}")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def jobs(line: str) -> str:
        text = f"jobs = 1\ncores = 1\nmemory = '1 GB'\ninterface = 'lo'\n{line}\n"
        (tmp_path / "jobs.toml").write_text(text)
        return str(tmp_path / "jobs.toml")

    return jobs


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    (folder := tmp_path / "cluster").mkdir()
    found = Running(folder)
    yield found
    found.close()


@linux
def test_a_shard_of_a_worker_that_is_killed_runs_on_another_and_nothing_is_left(
    running: Running, tmp_path: Path
) -> None:
    first = running.join()
    left: list[int] = []

    def kill(done: int, total: int) -> None:
        if not left:
            running.join()
            left.extend(descendants(first.pid))
            first.kill()

    stored = record(
        network(), frames(), tmp_path / "a.trace", cluster=running.address, shards=4, progress=kill
    )
    assert left  # a shard was running there
    same_arrays(stored.load(), port.run(network(), frames()))
    first.wait()
    until = time.monotonic() + 10
    while any(runs(pid) for pid in left) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(runs(pid) for pid in left)


@linux
def test_a_scheduler_that_is_killed_is_told_and_the_same_command_goes_on(
    running: Running, tmp_path: Path, called: Neuroport
) -> None:
    running.join()
    np.save(tmp_path / "frames.npy", frames())
    save(network(), tmp_path / "a.graph")
    run = ("run", "a.graph", "--frames", "frames.npy", "-o", "a.trace", "--shards", "5")

    def kill(done: int, total: int) -> None:
        running.scheduler.kill()

    with pytest.raises(BackendError, match=r"scheduler is gone; \d of 5 shards are done and kept"):
        record(
            network(), frames(), tmp_path / "a.trace", "reference", cluster=running.address,
            shards=5, progress=kill,
        )  # fmt: skip
    assert not (tmp_path / "a.trace").exists()
    done = called(*run, "--cluster", running.address, cwd=tmp_path)
    assert done.returncode == 2
    assert "no scheduler answers there" in done.stderr
    done = called(*run, "--cluster", "local:2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("reference: 23 samples, 2 populations, ")
    same_arrays(Trace.load(tmp_path / "a.trace"), port.run(network(), frames()))
    assert not (tmp_path / "a.trace.shards").exists()


@linux
@pytest.mark.lava
def test_ctrl_c_ends_the_lava_children_of_remote_workers(running: Running, tmp_path: Path) -> None:
    worker = running.join()
    np.save(tmp_path / "frames.npy", np.repeat(frames(), 400, 1))
    save(port.lower(network(), "lava-cpu"), tmp_path / "a.graph")
    command = [
        sys.executable, "-m", "neuroport", "run", "a.graph", "--frames", "frames.npy", "--on",
        "lava-cpu", "-o", "a.trace", "--shards", "1", "--cluster", running.address,
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as run:
        until = time.monotonic() + 60
        while len(list(descendants(worker.pid))) < 4 and time.monotonic() < until:  # Lava runs
            time.sleep(0.05)
        left = list(descendants(worker.pid))
        assert len(left) >= 4
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 130
    until = time.monotonic() + 20
    while any(runs(pid) for pid in left) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(runs(pid) for pid in left)
    assert runs(worker.pid)
    assert not (tmp_path / "a.trace").exists()


def test_cluster_options_that_contradict_are_usage_errors(
    called: Neuroport, tmp_path: Path
) -> None:
    np.save(tmp_path / "frames.npy", frames())
    save(network(), tmp_path / "a.graph")
    run = ("run", "a.graph", "--frames", "frames.npy")
    for options, said in (
        (("--cluster", "local:2"), "give -o FILE"),
        (("--shards", "2"), "--shards needs --cluster"),
        (("--cluster", "local:2", "--shard", "1/2", "-o", "a"), "give one of them"),
    ):
        done = called(*run, *options, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr


def test_a_cluster_here_leaves_nothing_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with connected("local:1") as found:
        found.submit(sum, (1, 2)).result()
        (folder,) = tmp_path.iterdir()
        assert any(folder.glob("dask-scratch-space/worker-*"))
    assert not list(tmp_path.iterdir())
