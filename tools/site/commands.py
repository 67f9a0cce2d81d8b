"""The page of the command line, from the commands of ``neuroport.cli`` themselves."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import click

from neuroport.cli import cli

HEAD = """# Command line

Every command is `neuroport VERB`. It exits with 0 if all is well, 1 if runs differ or a network is
illegal, 2 if it was called wrongly, and 130 if it was interrupted. A mistake of the user prints one
line. With `--json` a command prints JSON on stdout. This page is made from the commands.
"""


def names() -> list[str]:
    """The commands, in the order in which they are used."""
    return cli.list_commands(click.Context(cli))


def page() -> str:
    """Markdown with a section per command."""
    context = click.Context(cli, info_name="neuroport")
    parts = [HEAD]
    for name in names():
        command = cli.get_command(context, name)
        assert command is not None
        parts += section(command, click.Context(command, parent=context, info_name=name))
    return "\n".join(parts)


def section(command: click.Command, context: click.Context) -> Iterator[str]:
    """Heading, usage, what it does, and a table of its options."""
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"## neuroport {context.info_name} {{ #neuroport-{context.info_name} }}\n"
    yield f"```text\nneuroport {context.info_name} {usage}\n```\n"
    yield paragraphs(command.help or "")
    yield "\n| option | |\n|---|---|"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            words, text = record
            yield f"| `{cell(words)}` | {cell(html.escape(text, quote=False))} |"
    yield ""


def paragraphs(text: str) -> str:
    """A command's help as Markdown: what click prints as it stands is a block of text."""
    found = []
    for part in re.split(r"\n\s*\n", text.strip()):
        kept = part.lstrip().startswith("\b")
        lines = part.replace("\b", "").strip("\n").splitlines()
        if kept:
            found.append("```text\n" + "\n".join(line.rstrip() for line in lines) + "\n```")
        else:
            found.append(html.escape(" ".join(line.strip() for line in lines), quote=False))
    return "\n\n".join(found) + "\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
