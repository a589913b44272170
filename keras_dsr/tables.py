"""Reports as tables: text for a terminal, HTML for a notebook, from one description."""

import html
import io
import shutil
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

WIDTH = 80  # where there is no terminal
NARROWEST_NAME = 16
GAP = 2
LINE = "1px solid rgba(128, 128, 128, 0.45)"  # seen on white and on black
TABLE = "border-collapse: collapse; color: inherit; font-size: inherit; font-variant-numeric: tabular-nums"
CELL = "padding: 0.2em 0.8em; background: transparent; color: inherit; vertical-align: top"


class Table(NamedTuple):
    """Rows of cells under headers.

    The first column has names, which are shortened where there is no room for them. Where there is no room for the
    other columns either, they follow below each other, with the names repeated.

    Attributes:
        title: what the table shows.
        columns: the headers. The columns `left` are words and stand to the left, others are numbers.
        rows: strings, one for each column.
        totals: more rows, which stand below a line.
        left: indices of the columns of words.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    totals: Sequence[Sequence[str]] = ()
    left: Sequence[int] = (0,)


class Listing(NamedTuple):
    """Sentences, each with what it is about: `(subject, sentence)`."""

    title: str
    items: Sequence[tuple[str, str]]


Part = Table | Listing | str  # a string is a paragraph


class Report(ABC):
    """Base of what public functions return to be read: `print` and `repr` give text, a notebook shows HTML.

    A dataclass that derives from it needs `repr=False`.
    """

    @abstractmethod
    def parts(self) -> Iterable[Part]:
        """What is shown, in order."""

    def __str__(self) -> str:
        width = terminal_width()
        return "\n".join(_text(part, width) for part in self.parts() if part)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return "".join(_html(part) for part in self.parts() if part)


def terminal_width() -> int:
    """The columns of the terminal that is printed to; 80 where there is none, as in a notebook or a pipe."""
    stdout = sys.stdout
    is_terminal = stdout is not None and hasattr(stdout, "isatty") and stdout.isatty()
    return shutil.get_terminal_size((WIDTH, 24)).columns if is_terminal else WIDTH


def shape_of(shape: Sequence[int]) -> str:
    """A shape in few characters: `3x3x64x128`."""
    return "x".join(map(str, shape))


def named(names: Sequence[str], most: int = 3) -> str:
    """Some names in a sentence, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Paths that fit a width: without the folders that all share, then with their middles left out.

    What differs between two names stays, as far as that is possible.

    Example:

    >>> shortened(["net/encoder_1/attention/kernel", "net/encoder_2/attention/kernel"], 20)
    ['encoder_1/at…/kernel', 'encoder_2/at…/kernel']
    """
    if all(len(name) <= width for name in names):
        return list(names)
    paths = [name.split("/") for name in names]
    shared = 0
    while len(names) > 1 and all(len(path) > shared + 1 and path[shared] == paths[0][shared] for path in paths):
        shared += 1
    names = ["/".join(path[shared:]) for path in paths]

    def cut(head: int) -> list[str]:
        tail = width - 1 - head
        return [name if len(name) <= width else f"{name[:head]}…{name[len(name) - tail :]}" for name in names]

    different = len(set(names))
    heads = sorted(range(1, width), key=lambda head: abs(head - (width - 1) // 2))
    return next((short for short in map(cut, heads) if len(set(short)) == different), cut((width - 1) // 2))


def _text(part: Part, width: int) -> str:
    if isinstance(part, str):
        return _filled(part, width) + "\n"
    if isinstance(part, Table):
        return "\n".join([_filled(part.title, width), *_printed(part, width)])
    items = [
        _filled(f"{subject}: {sentence}" if subject else sentence, width, "  ") for subject, sentence in part.items
    ]
    return "\n".join([_filled(part.title, width), *items]) + "\n"


def _filled(text: str, width: int, indent: str = "") -> str:
    return textwrap.fill(
        text,
        max(width, 20),
        initial_indent=indent,
        subsequent_indent=2 * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _printed(table: Table, width: int) -> list[str]:
    """The table as text, in as many pieces as the width needs."""
    rows = [*table.rows, *table.totals]
    widths = [max(_width(row[index]) for row in [table.columns, *rows]) for index in range(len(table.columns))]
    names = [row[0] for row in table.rows]
    room = max([_room(names, widths[0]), *(_width(row[0]) for row in [table.columns, *table.totals])])
    groups: list[list[int]] = [[]]
    for index in range(1, len(widths)):
        used = room + sum(GAP + widths[column] for column in (*groups[-1], index))
        if groups[-1] and used > width:
            groups.append([])
        groups[-1].append(index)
    longest = max((sum(GAP + widths[column] for column in group) for group in groups), default=0)
    names = shortened(names, max(width - longest, room))
    rows = [[name, *row[1:]] for name, row in zip(names, table.rows)]
    return [_piece(table, [0, *group], rows) for group in groups]


def _piece(table: Table, columns: Sequence[int], rows: Sequence[Sequence[str]]) -> str:
    printed = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, GAP - 1, 0, 0), show_edge=False)
    for index in columns:
        printed.add_column(Text(table.columns[index]), justify="left" if index in table.left else "right", no_wrap=True)
    for row in rows:
        printed.add_row(*(Text(row[index]) for index in columns))
    text = io.StringIO()
    # In a notebook rich would show the table at once, in the place of writing it.
    console = Console(file=text, width=10_000, color_system=None, legacy_windows=False, force_jupyter=False)
    if table.totals and rows:
        printed.add_section()
    for row in table.totals:
        printed.add_row(*(Text(row[index]) for index in columns))
    console.print(printed)
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _room(names: Sequence[str], longest: int) -> int:
    """The fewest characters in which names can still be told apart."""
    different = len(set(names))
    widths = range(min(NARROWEST_NAME, longest), longest)
    return next((width for width in widths if len(set(shortened(names, width))) == different), longest)


def _width(cell: str) -> int:
    return max(map(len, cell.split("\n")))


def _html(part: Part) -> str:
    if isinstance(part, str):
        return f"<p>{html.escape(part)}</p>"
    title = f"<strong>{html.escape(part.title)}</strong>"
    if isinstance(part, Listing):
        items = (
            f"<li>{f'<em>{html.escape(subject)}</em>: ' if subject else ''}{html.escape(sentence)}</li>"
            for subject, sentence in part.items
        )
        return f'<p style="margin-bottom: 0">{title}</p><ul style="margin-top: 0">{"".join(items)}</ul>'
    head = _html_row(table=part, row=part.columns, tag="th", style=f"border-bottom: {LINE}; font-weight: bold")
    body = "".join(_html_row(part, row) for row in part.rows)
    foot = "".join(
        _html_row(part, row, style=f"border-top: {LINE}; font-weight: bold" if index == 0 else "font-weight: bold")
        for index, row in enumerate(part.totals)
    )
    return (
        f'<div style="overflow-x: auto; max-width: 100%"><p style="margin-bottom: 0.2em">{title}</p>'
        f'<table style="{TABLE}"><thead>{head}</thead>'
        f"<tbody>{body}</tbody><tfoot>{foot}</tfoot></table></div>"
    )


def _html_row(table: Table, row: Sequence[str], tag: str = "td", style: str = "") -> str:
    sides = ["left" if index in table.left else "right" for index in range(len(row))]
    cells = (
        f'<{tag} style="{CELL}; text-align: {side}; white-space: nowrap; {style}">'
        f"{html.escape(cell).replace(chr(10), '<br>')}</{tag}>"
        for side, cell in zip(sides, row)
    )
    return f'<tr style="background: transparent">{"".join(cells)}</tr>'
