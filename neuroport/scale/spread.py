"""Distribute shards over the workers of a cluster, and store results as they arrive.

Only as many shards are submitted at a time as keep all workers busy. Neither the scheduler nor this
process then needs more memory for a large test set than for a small one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Any

from neuroport.errors import BackendError, NeuroportError
from neuroport.scale.shard_folder import ShardFolder
from neuroport.scale.task import held, run_shard

TRIES = 3
AHEAD = 2  # shards per worker thread: one that runs, and one that waits
POLL_SECONDS = 0.05
LOOK_SECONDS = 2.0  # seconds between two checks of the number of workers
WAIT_SECONDS = 120.0  # seconds to wait without any worker, where no queue is before them
APPEAR_SECONDS = 65.0  # a client of NFS may believe for a minute that a file is not there

Job = Callable[[int], tuple[dict[str, Any], Any]]  # number -> description of the shard, its frames


def spread(
    client: Any,
    graphs: tuple[bytes, ...],
    job: Job,
    folder: ShardFolder,
    done: Collection[int],
    told: Callable[[int], None],
    wanted: Callable[[int], bool] = lambda _: True,
    patience: float | None = None,
) -> None:
    """Run all shards but those that are done, and store them in ``folder``.

    Args:
        done: the shards that the caller has found there and told. What a worker of an interrupted
            run writes after that runs again, so that every shard is told once.
        job: function that describes a shard, called when the shard is submitted.
        told: called with the number of each finished shard.
        wanted: function that returns whether a shard is still needed.
        patience: seconds to wait without any worker; None: ``WAIT_SECONDS``.

    Raises:
        BackendError: a shard failed ``TRIES`` times (all others are run first), the scheduler is
            lost, or no worker appears. Finished shards stay in the folder.
        NeuroportError: a shard was refused, so that others would be refused, too.
    """
    waiting = [n for n in range(1, folder.shards + 1) if n not in done]
    wait = WAIT_SECONDS if patience is None else patience
    _Spread(client, graphs, job, folder, told, wanted, wait).run(waiting)


class _Spread:
    def __init__(
        self,
        client: Any,
        graphs: tuple[bytes, ...],
        job: Job,
        folder: ShardFolder,
        told: Callable[[int], None],
        wanted: Callable[[int], bool],
        patience: float,
    ) -> None:
        self.patience = patience
        self.client, self.job, self.folder = client, job, folder
        self.told, self.wanted = told, wanted
        self.graphs = graphs
        self.tries: Counter[int] = Counter()
        self.failed: dict[int, str] = {}
        self.flying: dict[Any, int] = {}
        self.awaited: dict[int, float] = {}  # written by their workers: until when to look for them
        self.unseen: set[int] = set()  # did not appear here, and are sent from now on

    def run(self, waiting: list[int]) -> None:
        try:
            network = self.client.submit(held, self.graphs, pure=False) if waiting else None
            slots, look = 0, 0.0
            alone = time.monotonic() + self.patience
            while self.flying or self.awaited or any(self.wanted(n) for n in waiting):
                now = time.monotonic()
                if now > look:
                    slots, look = self._threads(), now + LOOK_SECONDS
                    if slots:
                        alone = now + self.patience
                    elif now > alone:
                        raise BackendError(
                            f"no worker came for {self.patience:g} s; {self._kept()}"
                        )
                waiting = [number for number in waiting if self.wanted(number)]
                while waiting and len(self.flying) < AHEAD * slots:
                    self._submit(waiting.pop(0), network)
                waiting = [*self._finished(), *self._appeared(), *waiting]
                time.sleep(POLL_SECONDS)
        finally:
            if self.flying and self.client.status == "running":
                with suppress(Exception):  # the scheduler may have ended
                    self.client.cancel(list(self.flying), force=True)
        if self.failed:
            number, said = min(self.failed.items())
            word = self.folder.word
            more = f" (and {len(self.failed) - 1} more {word}s)" if len(self.failed) > 1 else ""
            raise BackendError(
                f"{word} {number}/{self.folder.shards} failed {self.tries[number]} times{more}: "
                f"{said}; {self._kept()}"
            )

    def _threads(self) -> int:
        """Return the number of threads of all workers; raise if there is no scheduler."""
        if self.client.status != "running":  # a scheduler forgets the tasks of a lost client
            raise self._gone()
        try:
            return sum(self.client.nthreads().values())
        except Exception as error:
            raise self._gone() from error

    def _submit(self, number: int, network: Any) -> None:
        about, frames = self.job(number)
        if number in self.unseen:
            about = {key: value for key, value in about.items() if key != "place"}
        key = f"neuroport-shard-{number}-{self.tries[number]}-{id(self)}-{time.monotonic_ns()}"
        try:
            future = self.client.submit(run_shard, about, network, frames, key=key, pure=False)
        except Exception as error:
            raise self._gone() from error
        self.flying[future] = number

    def _finished(self) -> Iterator[int]:
        """Store finished shards; yield shards that must run again."""
        for future in [each for each in self.flying if each.done()]:
            number = self.flying.pop(future)
            if future.status in ("cancelled", "lost"):
                raise self._gone()
            self.tries[number] += 1
            if future.status == "error":
                error = future.exception()
                # dask gives up a shard whose workers were lost repeatedly
                lost = type(error).__name__ == "KilledWorker"
                said = "its worker was lost every time" if lost else f"{error!r:.500}"
                answer: dict[str, Any] = {"error": {"message": said, "final": False, "lost": lost}}
            else:
                try:
                    answer = future.result()
                except Exception as error:
                    raise self._gone() from error
            if "error" in answer:
                yield from self._again(number, answer)
            elif answer["result"] is None:
                self.awaited[number] = time.monotonic() + APPEAR_SECONDS
            else:
                self.folder.keep(number, answer["result"])
                self.told(number)

    def _appeared(self) -> Iterator[int]:
        """Look for shards that workers wrote; yield those that must run again.

        Shared file systems show a new file after some seconds.
        """
        for number, until in list(self.awaited.items()):
            if self.folder.path(number).exists():
                del self.awaited[number]
                self.told(number)
            elif time.monotonic() > until:
                del self.awaited[number]
                self.unseen.add(number)
                said = f"its worker wrote {self.folder.path(number)}, which does not appear here"
                yield from self._again(number, {"error": {"message": said, "final": False}})

    def _again(self, number: int, answer: dict[str, Any]) -> Iterator[int]:
        error = answer["error"]
        if error["final"]:
            where = f" (worker {answer['worker']})" if "worker" in answer else ""
            kinds = {kind.__name__: kind for kind in _errors()}
            kind = kinds.get(error.get("kind", ""), BackendError)
            said = f"{self.folder.word} {number}/{self.folder.shards}{where}: {error['message']}"
            raise kind(said, error.get("detail", ""))
        if self.tries[number] < TRIES and not error.get("lost"):
            yield number
            return
        self.failed[number] = str(error["message"])

    def _kept(self) -> str:
        done = len(self.folder.done())
        return (
            f"{done} of {self.folder.shards} {self.folder.word}s are done and kept in "
            f"{self.folder.folder}; the same command goes on from there"
        )

    def _gone(self) -> BackendError:
        return BackendError(f"the scheduler is gone; {self._kept()}")


def _errors() -> list[type[NeuroportError]]:
    found, todo = [], [NeuroportError]
    while todo:
        kind = todo.pop()
        found.append(kind)
        todo += kind.__subclasses__()
    return found
