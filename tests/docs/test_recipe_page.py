"""The page on recipes says every key, and the default that it has."""

from __future__ import annotations

import re
from pathlib import Path

from neuroport.data.catalog import KNOWN
from neuroport.errors import RecipeError
from neuroport.files import parse_toml
from neuroport.recipe import Recipe, from_dict

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()


def test_page_on_recipes_holds_every_key_and_its_default() -> None:
    block, *others = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    values = parse_toml(block, "docs/recipes.md", RecipeError)
    assert from_dict(values) == Recipe()
    defaults = Recipe().to_dict()
    for table in ("data", "training", "quantization"):
        assert values[table] == defaults[table]
        assert list(values[table]) == list(defaults[table])
    for other in others:
        assert from_dict(parse_toml(other, "docs/recipes.md", RecipeError)) != Recipe()


def test_page_on_recipes_names_every_dataset() -> None:
    table = PAGE.split("## Datasets")[1].split("\n## ")[0]
    listed = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)[1:]
    assert re.findall(r"`(\w+)`", " ".join(listed)) == list(KNOWN)
