"""A bar for work that takes seconds."""

import importlib.util
from collections.abc import Collection, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def with_progress(items: Collection[Item], description: str, shown: bool = True) -> Iterator[Item]:
    """The items one after another, and how many are done on the standard error.

    Where that is a terminal, or a notebook that has `ipywidgets` (without it rich shows a warning and no bar).

    Args:
        items: what is gone through.
        description: what is done to them.
        shown: whether there is a bar at all.
    """
    console = Console(stderr=True)
    can_show = importlib.util.find_spec("ipywidgets") is not None if console.is_jupyter else console.is_terminal
    yield from track(items, description, console=console, transient=True, disable=not (shown and can_show))
