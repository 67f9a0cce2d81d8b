"""Displays of objects in notebooks and terminals: a headline, a table, and a note of omissions.

A notebook calls ``_repr_html_``, the package rich ``__rich__``. Names and texts are anybody's:
they stay text. Colours are those of the page, light or dark.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from neuroport.errors import printable

ROWS = 40  # of a table; a network of a hundred layers is shown by its first and last
_CELL = "padding:.1em .8em .1em 0;text-align:{};white-space:nowrap"


@dataclass(frozen=True, slots=True)
class View:
    """A headline, a table and a note.

    Attributes:
        title: the headline.
        columns: their titles.
        rows: of the table, as texts.
        note: below the table.
        numbers: columns that are aligned to the right.
    """

    title: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""
    numbers: Collection[int] = ()

    def shown(self) -> tuple[list[Sequence[str]], int]:
        """Rows to show, and how many are left out in the middle."""
        left = len(self.rows) - ROWS
        if left <= 0:
            return list(self.rows), 0
        return [*self.rows[: ROWS // 2], *self.rows[len(self.rows) - ROWS // 2 :]], left

    def html(self) -> str:
        """Return an HTML fragment without scripts, own styles or external resources."""
        found = f"<div><b>{_html(self.title)}</b>"
        if self.columns:
            rows, left = self.shown()
            lines = [self._row(self.columns, "th"), *(self._row(row, "td") for row in rows)]
            if left:
                text = f"{left} rows left out; print it for all of them"
                lines.insert(
                    1 + ROWS // 2, f"<tr><td colspan='{len(self.columns)}'>{text}</td></tr>"
                )
            found += f"<table style='border-collapse:collapse'>{''.join(lines)}</table>"
        if self.note:
            found += f"<div>{_html(self.note)}</div>"
        return f"{found}</div>"

    def _row(self, cells: Sequence[str], tag: str) -> str:
        made = (
            f"<{tag} style='{_CELL.format('right' if at in self.numbers else 'left')}'>"
            f"{_html(cell)}</{tag}>"
            for at, cell in enumerate(cells)
        )
        return f"<tr>{''.join(made)}</tr>"

    def rich(self) -> Any:
        """Return a renderable for the package rich."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        parts: list[Any] = [Text(printable(self.title), "bold")]
        if self.columns:
            rows, left = self.shown()
            table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
            for at, column in enumerate(self.columns):
                table.add_column(column, justify="right" if at in self.numbers else "left")
            for at, row in enumerate(rows):
                if left and at == ROWS // 2:
                    table.add_row(Text(f"{left} rows left out"))
                table.add_row(*(Text(printable(cell)) for cell in row))
            parts.append(table)
        if self.note:
            parts.append(Text(printable(self.note)))
        return Group(*parts)


def _html(text: str) -> str:
    return escape(printable(text)).replace("\n", "<br>")


class Shown:
    """Base class of objects that notebooks and terminals display by their :meth:`view`."""

    __slots__ = ()

    def view(self) -> View:
        """Return the view to display."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return self.view().html()

    def __rich__(self) -> Any:
        return self.view().rich()
