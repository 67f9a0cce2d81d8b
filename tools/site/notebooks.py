"""Executed notebooks as pages: text, code, and what the code gave."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """The page in Markdown, and its pictures by file name."""
    notebook = json.loads(path.read_text())
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}-{len(pictures)}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![what the cell drew]({name})")
            elif "text/html" in data:
                shown = "".join(data["text/html"]).replace("\n", " ")
                parts.append(f'<div class="output">{shown}</div>')
            elif text := _text(output, data):
                parts.append(f"```text\n{text}\n```")
    about = notebook["metadata"]["neuroport"]
    parts.append(
        f"*Executed with Python {about['python']} in {about['seconds']:.0f} s, from "
        f"`examples/notebooks/{path.stem}.py`; `make notebooks` does it again.*"
    )
    return "\n\n".join(parts) + "\n", pictures


def _text(output: dict[str, Any], data: dict[str, Any]) -> str:
    return "".join(output.get("text", data.get("text/plain", ""))).rstrip()
