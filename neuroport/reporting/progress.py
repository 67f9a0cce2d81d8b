"""Show progress on a terminal, and nothing in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from neuroport.runs.frames import Progress


def _shown() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """Context with a callback ``(done, total)`` for a bar on stderr; None without a terminal."""
    if not _shown():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as RichProgress

    with RichProgress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def cluster_progress(cluster: str) -> Iterator[Progress | None]:
    """Like :func:`progress_bar`, with samples, their rate and the time left."""
    if not _shown():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    started = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("samples, {task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    first: list[int] = []  # what an earlier run did is no speed of this one

    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(cluster, total=None, rate="")

        def told(done: int, total: int) -> None:
            first.append(done)
            seconds = max(1e-9, time.monotonic() - started)
            rate = f"{(done - first[0]) / seconds:.1f} a second, left"
            bar.update(task, completed=done, total=total, rate=rate)

        yield told


@contextmanager
def training_report(line: Callable[[str], None]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Context with a callback for :func:`neuroport.training.fit.fit`: a bar, then a line."""
    from rich.console import Console
    from rich.progress import Progress as RichProgress

    shown = _shown()
    with RichProgress(console=Console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task("training", total=None)

        def report(event: dict[str, Any]) -> None:
            if "accuracy" in event:
                line(
                    f"  {event['phase']:9} epoch {event['epoch']:2}/{event['epochs']}  "
                    f"loss {event['loss']:.4f}  test accuracy {event['accuracy']:.1f} %  "
                    f"{event['seconds']:.0f} s"
                )
            else:
                bar.update(
                    task,
                    description=f"{event['phase']} epoch {event['epoch'] + 1}/{event['epochs']} "
                    f"loss {event['loss']:.3f}",
                    completed=event["batch"],
                    total=event["batches"],
                )

        yield report
