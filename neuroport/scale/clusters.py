"""Create the client of dask.distributed for ``--cluster``.

``local:4`` starts four worker processes on this machine. ``tcp://HOST:PORT`` (or ``tls://``) is a
running scheduler. ``slurm:FILE`` asks Slurm for the workers that a TOML file describes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from neuroport.errors import BackendError
from neuroport.files import parse_toml, read_text

if TYPE_CHECKING:
    from distributed import Client

    Cluster: TypeAlias = str | Client

SCHEDULER_SECONDS = 10
INSTALL = "pip install '.[scale]' in neuroport's folder"


@contextmanager
def connected(cluster: Any) -> Iterator[Any]:
    """Context with a client; everything that was started for it ends with it.

    Raises:
        BackendError: dask.distributed is missing, the text is not a cluster, or there is none.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise BackendError(f"a cluster needs dask.distributed: {INSTALL}") from error
    if isinstance(cluster, Client):
        yield cluster
        return
    kind, _, rest = cluster.partition(":") if isinstance(cluster, str) else ("", "", "")
    with ExitStack() as stack:
        if kind == "local" and rest.isdecimal() and int(rest) > 0:
            stack.enter_context(_isolated())
            target = stack.enter_context(_local(int(rest)))
        elif kind in ("tcp", "tls") and rest.startswith("//"):
            target = cluster
        elif kind == "slurm" and rest:
            target = stack.enter_context(_slurm(rest))
        else:
            raise BackendError(
                f"cluster is {cluster!r:.100}; give local:N (N processes here), tcp://HOST:PORT (a "
                "scheduler), slurm:FILE (jobs as a TOML file says), or a distributed.Client"
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
    jobs = fields.pop("jobs")
    with SLURMCluster(**fields) as cluster:
        cluster.scale(jobs=jobs)
        yield cluster


def read_slurm(path: str) -> dict[str, Any]:
    """Read a TOML file of jobs: ``jobs``, and arguments of dask-jobqueue's ``SLURMCluster``.

    Raises:
        StorageError: there is no such file.
        BackendError: the number or size of jobs is missing.
    """
    fields = parse_toml(read_text(path, BackendError, "a cluster"), path, BackendError)
    jobs = fields.get("jobs")
    if type(jobs) is not int or jobs < 1:
        raise BackendError(f"{path}: jobs is {jobs!r:.100}; say how many jobs to ask Slurm for")
    for name in ("cores", "memory"):
        if name not in fields:
            raise BackendError(
                f"{path}: no {name}; say what a job has, as in: cores = 4, memory = '16 GB'"
            )
    return fields
