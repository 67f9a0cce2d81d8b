"""The long proof that all engines agree: ``python -m benchmarks.prove`` (or ``make prove``).

Thousands of random residual networks, each a function of its number, run on every engine and every
lowering, and hundreds of chains as stock files in unmodified NetX; see
:mod:`tests.properties.proof`. Finished networks are kept in ``runs/proof``, in a file
for exactly these sources, so an interrupted proof goes on where it was. The result is written to
``tests/properties/proof.json``. A divergence writes the network and its frames beside that file and
ends with exit code 1; ``--only NUMBER`` runs one network again.

``--shard 2/4`` proves every fourth network, on another machine. With the ledgers of all shards in
one folder, the command without ``--shard`` writes the result.
"""

from __future__ import annotations

import ast
import hashlib
import json
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "tests" / "properties" / "proof.json"
LEDGERS = ROOT / "runs" / "proof"
PATIENCE = 1800.0  # seconds without any result, after which a process must have been killed
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
ROOMS = ("graph", "lowering", "netx", "runs", "backends", "kernels", "targets")
SOURCES = (
    *(f"neuroport/{room}/**/*.py" for room in ROOMS),
    *(f"neuroport/{file}.py" for file in ("errors", "files", "hdf5", "sandbox")),
    "neuroport/kernels/*.[ch]",
    "tests/helpers/processors.py",
    "tests/properties/*.py",
    "deploy/lava_cpu/run_stock.py",
)
NOT_RUN = "neuroport/backends/loihi2"  # by the proof, which imports nothing of it


def statements(text: str) -> str:
    """Python source as its statements alone: without comments, layout and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return ast.dump(tree)


def sources() -> str:
    """A digest of the statements that a result depends on; comments and docstrings may change."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in ROOT.glob(pattern)):
        if not path.name.startswith("test_") and not path.is_relative_to(ROOT / NOT_RUN):
            text = path.read_text()
            code = statements(text) if path.suffix == ".py" else text
            digest.update(f"{path.relative_to(ROOT)}\0{code}".encode())
    return digest.hexdigest()


def job(seed: int, lava: bool) -> dict[str, Any]:
    """Prove one network; a failure is a row with ``failure``."""
    from tests.properties.networks import CHAINS, network
    from tests.properties.proof import prove, prove_chain

    started = time.perf_counter()
    row: dict[str, Any] = {"seed": seed}
    try:
        case = network(seed)
        outcome = prove_chain(case) if seed >= CHAINS else prove(case, seed, lava)
        row.update(vars(outcome), attempts=case.attempt)
    except Exception as error:
        row["failure"] = f"{type(error).__name__}: {error}"
        row["traceback"] = traceback.format_exc()
    row["seconds"] = round(time.perf_counter() - started, 3)
    return row


def lava_numbers(seed: int, count: int, lava: int) -> set[int]:
    """``lava`` of the numbers that Lava may run, spread evenly."""
    from tests.properties.networks import for_lava

    fit = [number for number in range(seed, seed + count) if for_lava(number)]
    if lava > len(fit):
        raise click.UsageError(f"{lava} of {count} networks on Lava; it may run {len(fit)}")
    return {fit[i * len(fit) // lava] for i in range(lava)}


def done_before(ledgers: Path, digest: str) -> dict[int, dict[str, Any]]:
    """Rows of networks that earlier runs finished; a line cut short by its end is not one."""
    rows: dict[int, dict[str, Any]] = {}
    lines = [
        line
        for ledger in sorted(ledgers.glob(f"{digest[:16]}*.jsonl"))
        for line in ledger.read_text().splitlines()
    ]
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        kept = rows.get(row["seed"])
        if kept is None or not kept["lava"]:
            rows[row["seed"]] = row
    return rows


def named_job(item: tuple[int, bool]) -> dict[str, Any]:
    return job(*item)


def run(todo: list[tuple[int, bool]], jobs: int) -> Iterator[dict[str, Any]]:
    """Rows as they come, from ``jobs`` processes (1: from this one)."""
    if jobs == 1:
        yield from (job(*item) for item in todo)
        return
    from neuroport.processes import ended_by_parent

    # not concurrent.futures: its workers cannot be ended while they work
    with multiprocessing.get_context("spawn").Pool(jobs, ended_by_parent) as pool:
        rows = pool.imap_unordered(named_job, todo)
        for _ in todo:
            yield rows.next(timeout=PATIENCE)
        pool.close()  # idle processes end by themselves; a signal would find them holding a lock
        pool.join()


@click.command()
@click.option("--count", default=3300, show_default=True, help="Networks to prove.")
@click.option("--lava", default=330, show_default=True, help="How many of them run on Lava, too.")
@click.option("--chains", default=500, show_default=True, help="Chains that unmodified NetX runs.")
@click.option("--seed", default=0, show_default=True, help="Number of the first network.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Processes.")
@click.option("--shard", metavar="I/N", help="Prove every Nth network, from the Ith on.")
@click.option("--only", type=int, help="Prove one network and print what it has.")
@click.option("--ledgers", type=click.Path(path_type=Path), default=LEDGERS, help="Notes of runs.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, help="Where to write.")
def main(
    count: int,
    lava: int,
    chains: int,
    seed: int,
    jobs: int,
    shard: str | None,
    only: int | None,
    ledgers: Path,
    out: Path,
) -> None:
    """Prove on random networks that all engines agree."""
    from neuroport.files import write_json
    from neuroport.reporting.progress import progress_bar
    from neuroport.runs.shards import Shard
    from tests.properties.networks import CHAINS, for_lava
    from tests.properties.proof import ON_LAVA_FOR_CHIP
    from tests.properties.summary import summary

    if only is not None:
        row = job(only, for_lava(only) and lava > 0)
        sys.exit(
            fail(row, out.parent) if "failure" in row else click.echo(json.dumps(row, indent=1))
        )
    wanted = lava_numbers(seed, count, lava) if lava else set()
    digest = sources()
    ledgers.mkdir(parents=True, exist_ok=True)
    part = Shard.read(shard) if shard is not None else Shard(1, 1)
    name = f"{digest[:16]}-{part.number}-of-{part.of}" if shard is not None else digest[:16]
    ledger = ledgers / f"{name}.jsonl"
    rows = done_before(ledgers, digest)
    chained = range(CHAINS, CHAINS + chains)
    numbers = [*range(seed, seed + count), *chained]
    own = numbers[part.number - 1 :: part.of]
    todo = [
        (number, number in wanted)
        for number in own
        if number not in rows or (number in wanted and not rows[number]["lava"])
    ]
    click.echo(
        f"{count} networks, {len(wanted)} on Lava, and {chains} chains in NetX; "
        f"{len(own) - len(todo)} of {len(own)} were done before"
    )
    with open(ledger, "a") as file, progress_bar("proving") as progress:
        try:
            for row in run(todo, jobs):
                if "failure" in row:
                    sys.exit(fail(row, out.parent))
                rows[row["seed"]] = row
                file.write("\n" + json.dumps(row))
                file.flush()
                if progress is not None:
                    progress(sum(number in rows for number in own), len(own))
        except KeyboardInterrupt:
            click.echo("interrupted; the same command goes on from here", err=True)
            sys.exit(130)
    if shard is not None:
        click.echo(f"shard {part}: {len(own)} networks, 0 differ; {ledger}")
        return
    result = summary(
        [rows[number] for number in numbers[:count]], digest, [rows[number] for number in chained]
    )
    write_json(out, result)
    click.echo(
        f"{result['networks']} networks, {result['lava-cpu networks']} on Lava, "
        f"{result['positions compared']:,} positions: 0 differ"
    )
    told = f"membrane networks, {ON_LAVA_FOR_CHIP}"
    click.echo(f"{result[told]} {told}: 0 differ")
    click.echo(
        f"{result['chains']['networks']} chains as stock files in unmodified NetX, "
        f"{result['chains']['positions compared']:,} positions: 0 differ; {out}"
    )


def fail(row: dict[str, Any], folder: Path) -> int:
    """Keep the network that failed, with its frames, and say how to run it again."""
    import numpy as np

    from neuroport.graph.store import save
    from tests.properties.networks import network

    click.echo(f"seed {row['seed']}: {row['failure']}", err=True)
    if "Divergence" not in row["failure"]:
        click.echo(row["traceback"], err=True)
    try:
        case = network(row["seed"])
    except Exception:
        return 1
    stem = folder / f"diverged-{row['seed']}"
    np.save(stem.with_suffix(".npy"), case.frames)
    save(case.graph, stem.with_suffix(".graph"))
    click.echo(
        f"kept {stem}.graph and .npy; again: python -m benchmarks.prove --only {row['seed']}"
    )
    return 1


if __name__ == "__main__":
    main()
