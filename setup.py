"""The README with absolute links, as a package index needs them; all other metadata is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
REPOSITORY = "https://github.com/keras-dsr/keras-dsr"
# A link of Markdown or an attribute of HTML, to a file of the repository.
LINK = re.compile(r'(?P<before>!?\[[^\]]*\]\(|(?:src|srcset|href)=")(?!https?:|#|mailto:)(?P<path>[^)"\s]+)')
PICTURES = (".svg", ".png", ".gif", ".jpg")


def with_absolute_links(text: str, version: str) -> str:
    """The text with links to the files of a released version."""

    def absolute(link: re.Match) -> str:
        kind = "raw" if link["path"].endswith(PICTURES) else "blob"
        return f"{link['before']}{REPOSITORY}/{kind}/v{version}/{link['path']}"

    return LINK.sub(absolute, text)


def read_version() -> str:
    return re.search(r'__version__ = "(.*)"', (ROOT / "keras_dsr" / "_version.py").read_text())[1]


if __name__ == "__main__":
    setup(
        long_description=with_absolute_links((ROOT / "README.md").read_text(), read_version()),
        long_description_content_type="text/markdown",
    )
