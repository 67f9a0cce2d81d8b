"""Hooks of MkDocs: pages that are made from other files, and links between pages and code."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import neuroport
from tools.notebooks import FOLDER
from tools.site import commands, notebooks

ROOT = Path(__file__).resolve().parents[2]
# a page of the site <- the file of the repository that it is made from
COPIES = {
    "first_steps.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "models.md": "models/README.md",
    **{
        f"notebooks/{path.stem}.md": path.relative_to(ROOT).as_posix()
        for path in sorted(FOLDER.glob("*.ipynb"))
    },
}
FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?P<text>!?\[[^\[\]]*\])\((?P<to>[^)\s]+)\)|(?<=src=\")(?P<image>[^\"]+)(?=\")")
# texts in which no code is led to its reference: it is led already, or shown as it is
PLAIN = re.compile(r"(<h[1-6].*?</h[1-6]>|<a .*?</a>|<pre.*?</pre>)", re.DOTALL)
CODE = re.compile(r"<code>(port\.|neuroport\.|neuroport )([\w.]+)([^<]*)</code>")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made."""
    for name, source in COPIES.items():
        if source.endswith(".ipynb"):
            text, pictures = notebooks.page(ROOT / source)
            files.append(File.generated(config, name, content=text))
            for picture, content in pictures.items():
                files.append(File.generated(config, f"notebooks/{picture}", content=content))
            continue
        text = (ROOT / source).read_text().replace("# neuroport\n", "# First steps\n", 1)
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, "reference/commands.md", content=commands.page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links between files of the repository to pages, to the public host, or nowhere."""
    uri = page.file.src_uri
    source = (ROOT / COPIES.get(uri, f"docs/{uri}")).parent

    def lead(found: re.Match[str]) -> str:
        target, _, anchor = (found["to"] or found["image"]).partition("#")
        path = (source / target).resolve()
        if not target or not path.exists() or not path.is_relative_to(ROOT):
            return found[0]  # elsewhere, on this page, or missing: of that MkDocs warns
        to = led_to(path.relative_to(ROOT).as_posix(), uri, config, files)
        to = f"{to}#{anchor}" if to and anchor else to
        if found["image"]:
            return to or found[0]
        return f"{found['text']}({to})" if to else found["text"].strip("[]")

    parts = FENCE.split(markdown)
    return "".join(p if n % 2 else LINK.sub(lead, p) for n, p in enumerate(parts))


def led_to(path: str, uri: str, config: Any, files: Files) -> str | None:
    """Where the site leads for a file of the repository; None for nowhere."""
    copies = {file: name for name, file in COPIES.items()}
    name = copies.get(path) or copies.get(f"{path}/README.md") or path.removeprefix("docs/")
    if name in copies.values() or (path.startswith("docs/") and files.get_file_from_path(name)):
        return os.path.relpath(name, Path(uri).parent)
    return f"{config.repo_url.rstrip('/')}/blob/main/{path}" if config.repo_url else None


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Lead ``port.run``, ``neuroport.Graph`` and ``neuroport run`` to their reference."""
    uri = page.file.src_uri
    verbs = os.path.relpath("reference/commands.html", Path(uri).parent)

    def lead(found: re.Match[str]) -> str:
        before, name, _ = found.groups()
        if before == "neuroport." or (before == "port." and name in neuroport.__all__):
            return f'<autoref identifier="neuroport.{name}" optional>{found[0]}</autoref>'
        if before == "neuroport " and name in commands.names():
            return f'<a href="{verbs}#neuroport-{name}">{found[0]}</a>'
        return found[0]

    if uri.startswith("reference/"):
        return html
    parts = PLAIN.split(html)
    return "".join(p if n % 2 else CODE.sub(lead, p) for n, p in enumerate(parts))
