"""What ``make quick`` runs: ``pytest -p tests.quick``, a minute or so on two cores.

Tests of single parts, below ``tests/unit`` (whose folders are those of the package) and
``tests/kinds``, without Lava, training and the few files that take longer; of a test with many
cases the first.
"""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDERS = ("unit", "kinds")
MARKERS = ("lava", "slow", "long")
# fixtures that train, start the command line, or open a browser
FIXTURES = {"trained", "quantized", "network", "neuroport", "wheel", "browser", "opened"}
TRAINING = ("neuroport.training", "port.fit", "examples.studies")
LONGER = {  # of many random files, or what a page says, remade
    "test_chips_page.py",
    "test_data.py",
    "test_events.py",
    "test_mapping_page.py",
    "test_array_storage.py",
    "test_partition.py",
    "test_resource_page.py",
    "test_slayer_speed.py",
}


def left_out(path: Path) -> bool:
    """Whether nothing of a file is run."""
    folder = path.relative_to(Path(__file__).parent).parts[0]
    if folder not in FOLDERS or path.name in LONGER:
        return True
    source = path.read_text()
    return any(word in source for word in TRAINING)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Do not even import what is left out: lava-dl alone takes seconds."""
    if collection_path.suffix == ".py" and collection_path.name.startswith("test_"):
        return left_out(collection_path) or None
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the first case of every test that is quick."""
    kept: dict[str, pytest.Item] = {}
    others = []
    for item in items:
        slow = any(item.get_closest_marker(name) for name in MARKERS)
        slow |= not FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        if slow or kept.setdefault(item.nodeid.partition("[")[0], item) is not item:
            others.append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = kept.values()
