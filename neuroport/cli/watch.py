"""The command ``watch``."""

from __future__ import annotations

from pathlib import Path

import click

from neuroport.cli.options import json_option, page_file
from neuroport.cli.output import Out
from neuroport.cli.paths import Command, any_path


@click.command(cls=Command)
@click.argument("folder", type=any_path)
@click.option("--html", type=page_file, help="Write the page to a file instead, and exit.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0, the default: any free one.")
@json_option
def watch(folder: Path, html: Path | None, port: int | None, as_json: bool) -> None:
    """Show the training in FOLDER as a live page in the browser, until Ctrl-C.

    The page shows loss, accuracy, spikes, dormant neurons, gradient norms and, in integers, clipped
    weights and saturated voltages of every epoch. Only this machine can open it: its address holds
    a token. The command writes nothing.
    """
    from neuroport.files import write_atomic
    from neuroport.reporting.training_page import page
    from neuroport.reporting.training_server import TrainingServer, run_of

    if html is not None and port is not None:
        raise click.UsageError(
            "--port is for the live page, and --html writes one to a file; give one of them"
        )
    out = Out(as_json)
    if html is not None:
        name, epochs, written = run_of(folder)
        write_atomic(html, page(name, epochs, written))
        out.line(f"wrote {html}: {len(epochs)} epoch{'s' * (len(epochs) != 1)}")
        out.result({"path": str(html), "epochs": len(epochs)})
        return
    with TrainingServer(folder, port or 0) as server:
        out.line(f"{folder} is shown at {server.url} (Ctrl-C ends it)")
        out.result({"folder": str(folder), "url": server.url})
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            out.line("ended")
