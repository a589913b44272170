"""Every Python block of the README and of docs/ runs as it stands, the blocks of one page one after another."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks_of(page):
    """(line, code) of each block; the line lets an error point into the page."""
    text = page.read_text()
    return [(text[: match.start(1)].count("\n"), match.group(1)) for match in BLOCK.finditer(text)]


def test_the_readme_shows_code():
    assert blocks_of(PAGES[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    blocks = blocks_of(page)
    for line, code in blocks:
        exec(compile("\n" * line + code, str(page), "exec"), namespace)
    assert len(blocks) == page.read_text().count("```python")
