"""Every Python block of the README and of docs/ runs as it stands, the blocks of one page one after another.

A block runs on TensorFlow, or on the backend that its first line names after the language.
"""

import pathlib
import re

import keras
import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(r"^```python *([a-z]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks_of(page: pathlib.Path, backend: str) -> list[tuple[int, str]]:
    """(line, code) of each block for a backend; the line lets an error point into the page."""
    text = page.read_text()
    blocks = [match for match in BLOCK.finditer(text) if (match[1] or "tensorflow") == backend]
    return [(text[: match.start(2)].count("\n"), match[2]) for match in blocks]


def test_every_block_is_for_a_backend():
    assert blocks_of(PAGES[0], "tensorflow")
    for page in PAGES:
        found = [len(blocks_of(page, backend)) for backend in ("tensorflow", "jax", "torch")]
        assert sum(found) == page.read_text().count("```python"), page


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks_of(page, keras.backend.backend())],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for line, code in blocks_of(page, keras.backend.backend()):
        exec(compile("\n" * line + code, str(page), "exec"), namespace)
