"""The reference in docs/api/ has every public name once, and each of them has a docstring of its own."""

import importlib
import inspect
import pathlib
import re

import pytest

import keras_dsr
import models

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
ENTRY = re.compile(r"^::: (\S+)$", re.MULTILINE)
LISTED = [path for page in PAGES for path in ENTRY.findall(page.read_text())]


def public_names() -> list[str]:
    """Each public name, by its shortest path: `keras_dsr.SparseDense`, `keras_dsr.methods.DSR`."""
    found = []
    for module in (keras_dsr, keras_dsr.methods, keras_dsr.schedules, models):
        found += [f"{module.__name__}.{name}" for name in module.__all__ if not inspect.ismodule(vars(module)[name])]
    # `from ... import X as X`: public, and in no `import *`
    classes = [name for name, value in vars(keras_dsr.layers).items() if inspect.isclass(value)]
    found += [f"keras_dsr.layers.{name}" for name in classes if name not in keras_dsr.__all__]
    return found


def object_at(path: str):
    """What a path names, be it a name of a package or of the module in which it is defined."""
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            found = getattr(found, name)
        return found
    raise AttributeError(path)


def test_every_public_name_is_in_the_reference():
    assert len(public_names()) > 80
    missing = [name for name in public_names() if name not in LISTED]
    assert not missing, f"docs/api/ has no '::: {missing[0]}'"


def test_every_name_stands_once():
    assert sorted(set(LISTED)) == sorted(LISTED)


@pytest.mark.parametrize("path", sorted({*LISTED, *public_names()}))
def test_every_name_exists_and_has_a_docstring(path):
    found = object_at(path)
    assert not inspect.ismodule(found)
    text = vars(found).get("__doc__") if inspect.isclass(found) else found.__doc__
    assert text and text.strip(), f"{path} has no docstring"
    is_automatic = inspect.isclass(found) and text.startswith(f"{found.__name__}(")  # what `dataclass` writes
    assert not is_automatic, f"{path} has no docstring"
    assert text.split("\n\n")[0].rstrip().endswith((".", ":")), f"{path}: its first sentence has no end"


def test_every_page_of_the_docs_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").glob("**/*.md"):
        assert str(page.relative_to(ROOT / "docs")) in navigation, page


def test_every_page_of_the_reference_is_in_its_index():
    index = (ROOT / "docs" / "api" / "index.md").read_text()
    assert [page.name for page in PAGES if page.name != "index.md" and f"({page.name})" not in index] == []
