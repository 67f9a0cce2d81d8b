"""Docstrings as Markdown: the roles of Sphinx that they use become links and code."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`(~?)([^`]+)`")


def as_markdown(text: str) -> str:
    """``:class:`~a.b.C``` -> a link to ``a.b.C`` where a page has it; ``::`` -> a block of code."""

    def link(found: re.Match[str]) -> str:
        short, target = found.groups()
        shown = target.rpartition(".")[2] if short else target
        return f'<autoref identifier="{target}" optional><code>{shown}</code></autoref>'

    text = ROLE.sub(link, text)
    text = re.sub(r"^::$\n", "", text, flags=re.MULTILINE)
    return re.sub(r"::$", ":", text, flags=re.MULTILINE)


class Roles(griffe.Extension):
    """Rewrite every docstring once its object was read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
