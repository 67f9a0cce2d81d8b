"""Create the client of dask.distributed for ``--cluster``.

``local:4`` starts four worker processes on this machine. ``tcp://HOST:PORT`` (or ``tls://``) is a
running scheduler. ``slurm:FILE`` asks Slurm for the workers that a TOML file describes.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from neuroport.errors import BackendError
from neuroport.files import parse_toml, read_text
from neuroport.processes import run_folder

if TYPE_CHECKING:
    from distributed import Client

    Cluster: TypeAlias = str | Client

SCHEDULER_SECONDS = 10
MOST_HERE = 64  # processes on this machine, or four a core: each holds some 100 MB
MOST_JOBS = 10_000  # of Slurm, ten times as many as one scheduler serves
PATIENCE = "patience"  # key of a file of jobs: seconds
QUEUE_SECONDS = 86_400.0  # a day
LISTS = {  # keys whose value is a list of lines
    *("job_script_prologue", "job_extra_directives", "job_directives_skip", "worker_extra_args"),
    *("env_extra", "job_extra", "header_skip", "extra"),
}
SAID = 300  # characters
_ADDRESS = re.compile(r"//(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]@?#]+):([0-9]{1,5})/?")
# dask looks at itself a hundred times a second, which takes time from shards where all cores work
UNWATCHED = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.tick.interval": "1s",
}
INSTALL = "pip install '.[scale]' in neuroport's folder"


def check(cluster: Any) -> None:
    """Refuse, before any work, a text that is not a cluster; nothing is started.

    Raises:
        BackendError: it is none, or asks for more processes or jobs than make sense.
        StorageError: the file of Slurm's jobs is missing.
    """
    if not isinstance(cluster, str):
        return  # a Client, or refused with the text's own error by connected
    kind, _, rest = cluster.partition(":")
    if kind == "local" and re.fullmatch(r"0*[1-9][0-9]*", rest):
        most = max(MOST_HERE, 4 * (os.cpu_count() or 1))
        if len(rest.lstrip("0")) > 9 or int(rest) > most:
            raise BackendError(
                f"cluster is {cluster!r:.100}; use at most {most:,} processes on this machine, "
                f"which has {os.cpu_count()} cores"
            )
    elif kind in ("tcp", "tls") and _is_address(rest):
        pass
    elif kind == "slurm" and rest:
        read_slurm(rest)
    else:
        raise _no_cluster(cluster)


def _is_address(text: str) -> bool:
    """Whether this is ``//HOST:PORT``, the host a name or an address."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        return False
    host, port = found.groups()
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
        else:
            host.encode("idna")  # as a resolver is asked
    except ValueError:
        return False
    return 0 < int(port) < 1 << 16


def _no_cluster(cluster: Any) -> BackendError:
    return BackendError(
        f"cluster is {cluster!r:.100}; give local:N (N processes here), tcp://HOST:PORT (a "
        "scheduler), slurm:FILE (jobs as a TOML file says), or a distributed.Client"
    )


@contextmanager
def connected(cluster: Any) -> Iterator[Any]:
    """Context with a client; everything that was started for it ends with it.

    Raises:
        BackendError: dask.distributed is missing, the text is not a cluster, or there is none.
    """
    try:
        from distributed import Client
        from distributed.security import Security
    except ImportError as error:
        raise BackendError(f"a cluster needs dask.distributed: {INSTALL}") from error
    if isinstance(cluster, Client):
        yield cluster
        return
    if not isinstance(cluster, str):
        raise _no_cluster(cluster)
    check(cluster)
    kind, _, rest = cluster.partition(":")
    with ExitStack() as stack:
        if kind == "local":
            stack.enter_context(_isolated())
            stack.enter_context(_configured())
            target: Any = stack.enter_context(_local(int(rest)))
        elif kind == "slurm":
            target = stack.enter_context(_slurm(rest))
        else:
            target = cluster.rstrip("/")
            # not left to Client: one that could not be made may hang where it is collected
            security: Any = Security
            if kind == "tls" and not security().get_connection_args("client")["ssl_context"]:
                raise BackendError(
                    f"{cluster}: needs certificates, and dask has none; name them in its "
                    "configuration (distributed.comm.tls), or use tcp://"
                )
        try:
            client = Client(  # type: ignore[no-untyped-call]
                target, timeout=SCHEDULER_SECONDS, set_as_default=False
            )
        except (OSError, TimeoutError) as error:
            raise BackendError(
                f"{cluster}: no scheduler answers there; start one: dask scheduler"
            ) from error
        stack.enter_context(client)
        yield client


@contextmanager
def _isolated() -> Iterator[None]:
    """Processes that Python spawns execute no file that lies in the working directory.

    They are told where to import from after their start; until then it would be that directory.
    """
    from multiprocessing import util

    flags = util._args_from_interpreter_flags  # type: ignore[attr-defined]
    util._args_from_interpreter_flags = lambda: [*flags(), "-I"]  # type: ignore[attr-defined]
    try:
        yield
    finally:
        util._args_from_interpreter_flags = flags  # type: ignore[attr-defined]


@contextmanager
def _configured() -> Iterator[None]:
    """Scheduler and workers do not watch themselves, and write into a folder that is removed."""
    import dask

    with (
        run_folder("neuroport-workers-") as folder,
        dask.config.set({"temporary-directory": str(folder), **UNWATCHED}),
    ):
        yield


def _local(workers: int) -> Any:
    from distributed import LocalCluster

    try:
        return LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,
            memory_limit=0,  # the work is done in child processes, which dask does not see
            silence_logs=50,
        )
    except RuntimeError as error:
        raise BackendError(
            "no worker could be started here; in a script, keep what starts them under "
            "if __name__ == '__main__':, for workers import it"
        ) from error


@contextmanager
def _slurm(path: str) -> Iterator[Any]:
    fields = read_slurm(path)
    try:
        from dask_jobqueue import SLURMCluster  # type: ignore[attr-defined]
    except ImportError as error:
        raise BackendError(f"slurm:FILE needs dask-jobqueue: {INSTALL}") from error
    if shutil.which("sbatch") is None:
        raise BackendError("Slurm's command sbatch is not here; run this on a login node")
    jobs, _ = fields.pop("jobs"), fields.pop(PATIENCE)
    try:
        made = SLURMCluster(**fields)
    except Exception as error:  # it raises any for an argument that it does not have or expect
        raise BackendError(
            f"{path}: SLURMCluster refuses it ({_said(error)}); correct the file"
        ) from error

    with made as cluster:
        try:
            with _quiet("tornado.application", "asyncio"):
                cluster.sync(_ask, cluster, jobs)
        except Exception as error:
            raise BackendError(
                f"{path}: Slurm takes no such job ({_said(error)}); correct the file"
            ) from error
        yield cluster


async def _ask(cluster: Any, jobs: int) -> None:
    """Submit jobs, and raise what the method ``scale`` only logs."""
    from distributed.core import Status

    cluster.scale(jobs=jobs)
    try:
        await cluster._correct_state()
    except Exception:
        for job in cluster._created:
            if job.status == Status.created:
                job.status = Status.failed  # as the cluster wants to find it when it is closed
        raise


@contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """Context in which these loggers print nothing."""
    found = [logging.getLogger(name) for name in loggers]
    before = [each.disabled for each in found]
    for each in found:
        each.disabled = True
    try:
        yield
    finally:
        for each, was in zip(found, before, strict=True):
            each.disabled = was


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[-SAID:]


def patience_of(cluster: Any) -> float | None:
    """Seconds to wait without any worker; None where nobody says.

    Raises:
        NeuroportError: see :func:`read_slurm`.
    """
    kind, _, rest = cluster.partition(":") if isinstance(cluster, str) else ("", "", "")
    return float(read_slurm(rest)[PATIENCE]) if kind == "slurm" else None


def read_slurm(path: str) -> dict[str, Any]:
    """Read a TOML file of jobs: ``jobs``, and arguments of dask-jobqueue's ``SLURMCluster``.

    ``patience`` is how long jobs may wait in Slurm's queue, in seconds.

    Raises:
        StorageError: there is no such file.
        BackendError: the number or size of jobs is missing, or larger than makes sense.
    """
    fields = parse_toml(read_text(path, BackendError, "a cluster"), path, BackendError)
    jobs = fields.get("jobs")
    if type(jobs) is not int or jobs < 1:
        raise BackendError(f"{path}: jobs is {jobs!r:.100}; say how many jobs to ask Slurm for")
    if jobs > MOST_JOBS:
        raise BackendError(f"{path}: jobs is {jobs}; ask Slurm for {MOST_JOBS:,} at most")
    for name in ("cores", "memory"):
        if name not in fields:
            raise BackendError(
                f"{path}: no {name}; say what a job has, as in: cores = 4, memory = '16 GB'"
            )
    patience = fields.setdefault(PATIENCE, QUEUE_SECONDS)
    if type(patience) not in (int, float) or not 0 < patience < float("inf"):
        raise BackendError(
            f"{path}: {PATIENCE} is {patience!r:.100}; say for how many seconds jobs may wait in "
            "the queue"
        )
    for name in LISTS & fields.keys():
        if not isinstance(fields[name], list):  # of a text, each letter would be a line
            raise BackendError(f"{path}: {name} is {fields[name]!r:.100}; give a list of lines")
    return fields
