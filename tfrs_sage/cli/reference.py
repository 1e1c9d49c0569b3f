"""The reference of all verbs from their own help: `python -m tfrs_sage.cli.reference`."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from tfrs_sage.cli.main import app

HEAD = """# The command line

Made by `python -m tfrs_sage.cli.reference > docs/cli.md`; a test fails when it is stale.

Results go to standard output, all else to standard error. `--json` prints one JSON object and
nothing else. Exit 0: done. 2: bad usage or bad input. 1: failed.
"""


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield name, command
    for verb, one in inner.items():
        yield from commands(one, f"{name} {verb}")


def option_line(parameter: Any) -> str:
    """One option or argument with its default, as a list item."""
    names = ", ".join(f"`{one}`" for one in [*parameter.opts, *parameter.secondary_opts])
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`"
    needed = " (required)" if parameter.required else ""
    default = parameter.default
    shown = default is not None and default is not False and not callable(default)
    value = f" [{default}]" if shown and default != () else ""
    return f"- {names}{needed}: {(getattr(parameter, 'help', None) or '').rstrip('.')}{value}"


def reference() -> str:
    """The whole reference as Markdown."""
    parts = [HEAD]
    for name, command in commands(typer.main.get_command(app), "tfrs-sage"):
        text = inspect.cleandoc(command.help or "")
        lines = [option_line(one) for one in command.params if one.name != "help"]
        parts.append("\n".join([f"## {name}", "", text, "", *lines, ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    print(reference(), end="")
