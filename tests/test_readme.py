"""What the README says is run: its code and output, its commands, its figures."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from neuroport.cli import cli
from neuroport.errors import RecipeError
from neuroport.files import parse_toml
from tests.conftest import Neuroport

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def make_figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("f", ROOT / "examples" / "make_figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.lava
def test_python_of_the_readme_prints_what_the_readme_says(tmp_path: Path) -> None:
    (code,), (output,) = blocks("python"), blocks("text")
    shutil.copytree(ROOT / "models", tmp_path / "models")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == output.strip()


def test_python_of_the_readme_is_about_ten_lines() -> None:
    (code,) = blocks("python")
    assert 5 <= len([line for line in code.splitlines() if line.strip()]) <= 14


def test_two_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    commands = [c for block in blocks("sh") for c in block.splitlines() if c.startswith("make ")]
    targets = [c.split("#")[0].split()[1] for c in commands]
    assert targets[:2] == ["demo", "test"]
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_every_verb_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"^neuroport ([a-z]+)", README, re.MULTILINE))
    assert {"train", "quantize", "lower", "export", "run", "compare"} <= named
    for verb in named:
        assert CliRunner().invoke(cli, [verb, "--help"]).exit_code == 0, verb


@pytest.mark.lava
def test_shell_commands_of_the_readme_run_on_the_shipped_model(
    called: Neuroport, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models")
    commands = [
        line.split("#")[0].strip()
        for block in blocks("sh")
        for line in block.splitlines()
        if line.startswith("neuroport ")
        and not line.startswith(("neuroport demo", "neuroport train", "neuroport watch"))
    ]
    assert len(commands) >= 5
    for command in commands:
        done = called(*shlex.split(command)[1:], cwd=tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_figures_of_the_readme_are_those_of_the_committed_results() -> None:
    figures = make_figures()
    results = json.loads((ROOT / "models" / "ms_resnet8_mnist" / "results.json").read_text())
    card = (ROOT / "models" / "ms_resnet8_mnist" / "README.md").read_text()
    for page in (README, card):
        table = page.split(figures.BEGIN)[1].split(figures.END)[0].strip()
        assert table == figures.figures_table(results)


def test_committed_results_meet_what_the_readme_promises() -> None:
    results = json.loads((ROOT / "models" / "ms_resnet8_mnist" / "results.json").read_text())
    real = results["accuracy"]["float"]["percent"]
    assert real >= 96
    assert abs(results["accuracy"]["quantized"]["percent"] - real) <= 0.5
    assert results["accuracy"]["lava-cpu"]["samples"] >= 50
    for comparison in results["comparisons"]:
        assert comparison["differing"] == 0
        assert comparison["same_predictions"]


def test_proof_of_the_readme_is_the_committed_one() -> None:
    proof = json.loads((ROOT / "tests" / "properties" / "proof.json").read_text())
    said = " ".join(README.split())
    assert f"`make prove` draws {proof['networks']:,} random residual networks" in said
    assert f"{proof['lava-cpu networks']} of them on real Lava" in said
    assert f"{proof['positions compared']:,} positions compared, 0 differ" in said
    chains = proof["chains"]
    assert f"{chains['networks']} more are chains" in said
    assert f"unmodified NetX: {chains['positions compared']:,} positions, 0 differ" in said
    differing = [count for name, count in proof.items() if name.startswith("differing")]
    assert differing == [0, 0, 0]


def test_picture_and_links_of_the_readme_exist() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r'src="([^"]+)"', README)
    local = [t for t in targets if "://" not in t]
    assert len(local) >= 3
    for target in local:
        assert (ROOT / target).exists(), target


def test_code_organization_of_the_readme_is_that_of_the_package() -> None:
    from tests.unit.test_house import FLOOR

    table = README.split("<!-- organization: begin -->")[1].split("<!-- organization: end")[0]
    rows = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()[3:] if line]
    assert 6 <= len(rows) <= 12
    folders = {path.parent.name for path in (ROOT / "neuroport").glob("*/*.*")}
    assert sorted(name for row in rows for name in row) == sorted(folders - {"__pycache__"})
    floors = [[FLOOR[name] for name in row if name in FLOOR] for row in rows]
    for above, below in pairwise(floors):
        assert max(above) < min(below)
    beside = README.split("Beside the package, ")[1].split("\n\n")[0]
    for folder in re.findall(r"`(\w+)`", beside):
        assert (ROOT / folder).is_dir()


def test_the_citation_is_of_this_package() -> None:
    import yaml

    import neuroport

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # what its schema asks
    assert citation["version"] == neuroport.__version__
    project = parse_toml((ROOT / "pyproject.toml").read_text(), "pyproject.toml", RecipeError)
    assert citation["license"] == project["project"]["license"]
    assert [author["name"] for author in citation["authors"]] == [
        author["name"] for author in project["project"]["authors"]
    ]


def test_files_for_a_public_host_call_what_exists() -> None:
    import yaml

    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    targets = [command.split()[1] for command in commands if command.startswith("make ")]
    assert {"lint", "quick", "test", "docs"} <= set(targets)
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for form in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        assert yaml.safe_load(form.read_text())
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (repository,) = hooks["repos"]
    assert [hook["id"] for hook in repository["hooks"]] == ["ruff-check", "ruff-format", "mypy"]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_what_contributors_are_told_to_run_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in target or (ROOT / target).exists(), target
