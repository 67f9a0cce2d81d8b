"""The metadata of an installed distribution, made in a folder, as a package manager would."""

from __future__ import annotations

from pathlib import Path


def distribution(folder: Path, entries: str, sources: dict[str, str], name: str = "theirs") -> Path:
    """A folder for ``sys.path`` with files and the metadata of a distribution.

    Args:
        entries: text of its ``entry_points.txt``.
        sources: file, below the folder -> its text.
        name: of the distribution.
    """
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)
    for file, text in sources.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    return folder
