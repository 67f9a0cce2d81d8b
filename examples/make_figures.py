"""Remake models/ms_resnet8_mnist and every figure of the README, from nothing (`make figures`).

Trains the demo in a fresh folder, copies weights, network, results and 20 held-out digits to the
model, photographs the network, and writes the tables of README and model card from the results.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from neuroport.demo import demo
from neuroport.files import write_atomic, write_json
from neuroport.training.checkpoint import read_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "ms_resnet8_mnist"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def figures_table(results: dict[str, Any]) -> str:
    """The README's table, from a stored results file."""
    accuracy, graph = results["accuracy"], results["graph"]
    lava = results["comparisons"][0]
    module = results["comparisons"][1]
    seconds = results["seconds"]
    activity = results["activity"]
    rows = [
        ("test accuracy, real numbers", f"{accuracy['float']['percent']:.1f} % of 1,000"),
        ("test accuracy, integers", f"{accuracy['quantized']['percent']:.1f} % of 1,000"),
        (
            "the same file on Lava CPU",
            f"{accuracy['lava-cpu']['percent']:.0f} % of {accuracy['lava-cpu']['samples']}",
        ),
        (
            "positions compared, Lava against the reference",
            f"{lava['positions']:,} in {lava['populations']} populations: "
            f"**{lava['differing']} differ**",
        ),
        (
            "positions compared, Lava against the torch module",
            f"{module['positions']:,} in {module['populations']} populations: "
            f"**{module['differing']} differ**",
        ),
        ("spikes per neuron and digit", f"{activity['spikes_per_neuron']:.2f}"),
        ("integer weights, relays for shortcuts", f"{graph['weights']:,}, {graph['relays']}"),
        ("training, 10 epochs", f"{results['training_seconds']:.0f} s on 2 cores"),
        (
            "running 100 digits: reference, Lava CPU",
            f"{seconds['run reference']:.1f} s, {seconds['run lava-cpu']:.1f} s",
        ),
    ]
    return "\n".join(["| measured | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def write_tables(results: dict[str, Any]) -> None:
    """Replace what stands between the markers of the README and of the model's card."""
    table = f"{BEGIN}\n{figures_table(results)}\n{END}"
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    for page in (ROOT / "README.md", MODEL / "README.md"):
        write_atomic(page, pattern.sub(lambda _: table, page.read_text()))


def photograph(
    page: Path, picture: Path, section: str = "network", height: int | None = None
) -> None:
    """A section of a report as headless Chromium shows it, or its first ``height`` pixels."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        click.echo("chromium is not installed; the picture is left as it is")
        return
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1000, "height": 900})
        view.goto(page.as_uri())
        view.locator("#told:not(:empty)").wait_for()
        shown = view.locator("section", has=view.locator(f"#{section}"))
        box = shown.bounding_box()
        assert box is not None
        shot = {**box, "height": min(box["height"], height or box["height"])}
        view.screenshot(path=str(picture), clip=shot, full_page=True)
        browser.close()


def main() -> None:
    """Run the demo in a fresh folder and store what it made."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = demo("demo", folder, 100, click.echo)
        if not results["equal"]:
            sys.exit("the engines differ; nothing was stored")
        MODEL.mkdir(parents=True, exist_ok=True)
        state = read_checkpoint(folder)
        state.tensors = {n: t for n, t in state.tensors.items() if n.startswith("model.")}
        save_checkpoint(MODEL, state)
        write_atomic(MODEL / "recipe.toml", (folder / "recipe.toml").read_bytes())
        write_atomic(MODEL / "network.net", (folder / f"{results['name']}.net").read_bytes())
        np.save(MODEL / "frames.npy", np.load(folder / "frames.npy")[:, :20])
        np.save(MODEL / "labels.npy", np.load(folder / "labels.npy")[:20])
        write_json(MODEL / "results.json", results)
        photograph(folder / "report.html", ROOT / "docs" / "network.png")
    write_tables(json.loads((MODEL / "results.json").read_text()))


if __name__ == "__main__":
    main()
