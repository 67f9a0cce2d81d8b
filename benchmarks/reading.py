"""``python -m benchmarks.reading``: how many samples a second are read for training, per core.

Pictures of ImageNet's usual size (500 x 375 pixels, 110 kB of JPEG; noise of a photograph's
spectrum, since no data set is here) go through what ``ms_resnet18_imagenet`` asks for: decoding, a
random resized crop to 224, AutoAugment. Recordings of events of a 128 x 128 sensor are binned to
T = 10 frames of 48 x 48. Seconds are of the processor, of the process that trains and of those that
read, so that what else the machine does is not counted; those of the clock are told beside them.
Ways are measured in turns.

*whole batch* is what each of two processes of torchrun read until version 0.9: all of every batch,
for a half of it. Writes ``docs/reading.json``, then the table of ``docs/devices.md``.
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import machine
from neuroport.data.events import EVENT, Binning, Events, Recordings
from neuroport.data.loading import load_data
from neuroport.data.samples import Samples
from neuroport.files import read_json, write_atomic, write_json
from neuroport.recipe import Recipe, load_recipe
from neuroport.runs.trace import versions
from neuroport.training.augmentation import draw, part_of
from neuroport.training.loading import Job, Reading

ROOT = Path(__file__).resolve().parents[1]
SIZE = (500, 375)
BYTES = 110_000  # of a picture of ImageNet, on average
BATCH = 32
GOAL = 100.0  # pictures a second and core
SCALING = 1.7  # of two processes that read over one
CPU = torch.device("cpu")
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def photograph(rng: np.random.Generator, quality: int) -> bytes:
    """A JPEG whose pixels have a photograph's spectrum: amplitude falls with frequency."""
    width, height = SIZE
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    falling = 1 / np.maximum(np.hypot(rows, columns), 1 / width)
    noise = np.fft.fft2(rng.normal(size=(3, height, width))) * falling
    pixels = np.fft.ifft2(noise).real
    pixels = 128 + 50 * (pixels - pixels.mean()) / pixels.std()
    colours = 0.8 * pixels[:1] + 0.2 * pixels  # channels of a photograph are much alike
    image = Image.fromarray(colours.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def write_pictures(root: Path, count: int) -> float:
    """A folder as ImageNet's, of two classes; bytes of a picture on average."""
    rng = np.random.default_rng(0)
    low, high = 40, 98  # the quality at which a picture has as many bytes as ImageNet's
    while high - low > 1:
        middle = (low + high) // 2
        size = len(photograph(np.random.default_rng(1), middle))
        low, high = (middle, high) if size < BYTES else (low, middle)
    total = 0
    for half in ("train", "val"):
        for label in ("n01", "n02"):
            (root / half / label).mkdir(parents=True)
            for number in range(count // 2 if half == "train" else 1):
                content = photograph(rng, low)
                total += len(content)
                (root / half / label / f"{number}.JPEG").write_bytes(content)
    return total / (count + 2)


def jobs_of(recipe: Recipe, samples: Samples, processes: int = 1) -> Iterator[Job]:
    """An epoch's batches; of several processes the first one's part of each."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(samples.labels))
    for at in range(0, len(order), BATCH):
        chosen = order[at : at + BATCH]
        own = slice(len(chosen) // processes)
        drawn = draw(recipe.training, len(chosen), rng)
        yield Job(chosen[own], part_of(drawn, own))


def processor() -> float:
    """Seconds of the processor, of this process and of those that have ended below it."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def measured(ways: dict[str, Callable[[], int]], rounds: int) -> dict[str, Any]:
    """Samples a second and core, and a second of the clock, of every way: median, low, high."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            cpu, clock = processor(), time.perf_counter()
            count = way()
            if turn:  # files are in the system's memory after the first
                rates = count / (processor() - cpu), count / (time.perf_counter() - clock)
                found[name].append(rates)
    return {
        name: {
            key: [round(f([r[index] for r in rates]), 1) for f in (statistics.median, min, max)]
            for index, key in enumerate(("per_core", "per_second"))
        }
        for name, rates in found.items()
    }


def consume(reading: Reading, samples: Samples, recipe: Recipe, jobs: Iterator[Job]) -> int:
    """Read batches as training does; how many samples."""
    return sum(len(made.labels) for made in reading.batches(samples, recipe, jobs))


def pictures(count: int, rounds: int) -> dict[str, Any]:
    """Figures of picture files."""
    with tempfile.TemporaryDirectory() as folder:
        size = write_pictures(Path(folder), count)
        recipe = load_recipe("ms_resnet18_imagenet")
        recipe = replace(recipe, data=replace(recipe.data, root=folder, classes=2))
        samples = load_data(recipe.data).train
        plain = replace(recipe, training=replace(recipe.training, auto_augment=False))
        paths = sorted((Path(folder) / "train").rglob("*.JPEG"))

        def decode() -> int:
            for path in paths:
                with Image.open(path) as image:
                    image.convert("RGB")
            return len(paths)

        def whole() -> int:  # of two processes each reads everything and keeps a half
            return consume(Reading(CPU), samples, recipe, jobs_of(recipe, samples)) // 2

        def by(workers: int, of: Recipe, processes: int = 1) -> Callable[[], int]:
            def read() -> int:
                return consume(Reading(CPU, workers), samples, of, jobs_of(of, samples, processes))

            return read

        ways = {
            "decoding alone": decode,
            "decoding and crop": by(0, plain),
            "in the process that trains": by(0, recipe),
            "by one process beside it": by(1, recipe),
            "by two processes beside it": by(2, recipe),
            "of two processes of torchrun, each its part": by(0, recipe, 2),
            "of two processes of torchrun, whole batch": whole,
        }
        return {"bytes": round(size), "count": count, "rates": measured(ways, rounds)}


def events(count: int, rounds: int) -> dict[str, Any]:
    """Figures of recordings."""
    rng = np.random.default_rng(0)
    recordings = []
    for _ in range(count):
        made = np.zeros(100_000, EVENT)
        made["x"], made["y"] = rng.integers(0, 128, (2, len(made)))
        made["t"] = np.sort(rng.integers(0, 1_000_000, len(made)))
        made["p"] = rng.integers(0, 2, len(made))
        recordings.append(made)

    def read(number: int) -> Events:
        return recordings[number]

    binning = Binning(10, "time", 0, (128, 128), (48, 48))
    labels = np.zeros(count, np.int64)
    recipe = load_recipe("demo")
    recipe = replace(recipe, training=replace(recipe.training, shift=0))

    def again() -> Samples:
        return Recordings(read, labels, binning)

    kept = again()

    def first() -> int:
        samples = again()
        return consume(Reading(CPU), samples, recipe, jobs_of(recipe, samples))

    def later(workers: int) -> Callable[[], int]:
        return lambda: consume(Reading(CPU, workers), kept, recipe, jobs_of(recipe, kept))

    ways = {
        "binned, first epoch": first,
        "kept, later epochs": later(0),
        "kept, by two processes beside it": later(2),
    }
    return {"events": 100_000, "count": count, "rates": measured(ways, rounds)}


def table(results: dict[str, Any]) -> str:
    """What the page says of the figures."""
    lines = []
    for what, told in (("pictures", "Pictures"), ("events", "Recordings of events")):
        lines += [
            f"| {told} | a second and core | a second of the clock |",
            "|---|--:|--:|",
        ]
        for name, rates in results[what]["rates"].items():
            cells = [
                f"{rate[0]:,.0f} ({rate[1]:,.0f} to {rate[2]:,.0f})"
                for rate in (rates["per_core"], rates["per_second"])
            ]
            lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
        lines.append("")
    rates = results["pictures"]["rates"]
    core = rates["by one process beside it"]["per_core"][0]
    scaling = results["scaling"]
    two = rates["by two processes beside it"]["per_core"][0]
    lines += [
        f"Asked for: at least {GOAL:.0f} pictures a second and core "
        f"({'reached' if core >= GOAL else 'missed'}: {core:,.0f}). Two processes should read "
        f"{SCALING} times what one reads, by the clock "
        f"({'reached' if scaling >= SCALING else 'missed'}: {scaling:.2f}, best of "
        f"{results['rounds']} rounds, while {results['load']:.0f} other processes wanted the "
        f"{results['cores']} cores; by seconds of the processor it is {2 * two / core:.2f}).",
        "",
    ]
    return "\n".join(lines)


def page(results: dict[str, Any], text: str) -> str:
    """The page with the table of these results."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table(results) + END + rest.partition(END)[2]


def main() -> None:
    """Measure, and write the JSON and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2048)
    parser.add_argument("--recordings", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--page", action="store_true", help="Write the page of the stored figures.")
    asked = parser.parse_args()
    path = asked.out / "reading.json"
    if not asked.page:
        torch.set_num_threads(1)
        found = {"pictures": pictures(asked.pictures, asked.rounds)}
        found["events"] = events(asked.recordings, asked.rounds)
        rates = found["pictures"]["rates"]
        one, two = (
            rates[f"by {n} beside it"]["per_second"] for n in ("one process", "two processes")
        )
        write_json(
            path,
            {
                **found,
                "scaling": round(two[2] / one[2], 2),
                "rounds": asked.rounds,
                "cores": torch.multiprocessing.cpu_count(),
                "load": max(0.0, round(_load() - 1, 1)),
                "processor": machine.processor(),
                "versions": versions("torch", "torchvision", "pillow", "numpy"),
            },
        )
    results, place = read_json(path), asked.out / "devices.md"
    if place.exists():
        write_atomic(place, page(results, place.read_text()))
    print(table(results))


def _load() -> float:
    return float(Path("/proc/loadavg").read_text().split()[0])


if __name__ == "__main__":
    main()
