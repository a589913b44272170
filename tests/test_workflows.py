"""What the files for those who carry the project on say of it is so: commands, versions, links."""

import re
import tomllib

import pytest

from setup import REPOSITORY
from tests.helpers.distributions import ROOT, version_of
from tests.helpers.lower_bounds import lower_bounds

pytestmark = pytest.mark.backends("torch")  # it reads files

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def made_by(text: str) -> set[str]:
    """The targets of `make` that a text names: in commands, in code, and in a matrix."""
    found = re.findall(r"(?:run: |`)make ([a-z-]+)|\btarget: ([a-z-]+)", text)
    return {target for pair in found for target in pair if target}


@pytest.mark.parametrize(
    "path", [*WORKFLOWS, ROOT / "RELEASE.md", ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name
)
def test_the_makefile_has_what_is_called(path):
    named = made_by(path.read_text())
    assert named and named <= TARGETS


def test_the_workflows_run_what_a_change_must_pass():
    called = set().union(*(made_by(path.read_text()) for path in WORKFLOWS))
    assert called == {"lint", "test", "docs", "keras-oldest", "keras-nightly", "release-check"}


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", text, re.MULTILINE) == [version_of(ROOT)]
    assert all(f"arXiv:{paper}" in text for paper in ("1902.05967", "1607.04381"))


def test_all_links_are_to_one_repository():
    urls = PYPROJECT["project"]["urls"]
    assert {"Homepage", "Documentation", "Source", "Changelog", "Issues"} == set(urls)
    files = [
        ROOT / name for name in ("CITATION.cff", "SECURITY.md", "CODE_OF_CONDUCT.md", "RELEASE.md", "pyproject.toml")
    ]
    text = "\n".join(path.read_text() for path in [*files, *(ROOT / ".github").rglob("*.yml")])
    found = set(re.findall(r"https://github\.com/keras[\w-]*/[\w-]+", text))
    assert found == {REPOSITORY} == {urls["Source"]}
    assert set(re.findall(r"https://[\w-]+\.github\.io/[\w-]+/", text)) == {urls["Documentation"]}


def test_lower_bounds_are_those_of_the_project():
    assert lower_bounds(
        {
            "project": {
                "dependencies": ["keras>=3.15", "rich>=13"],
                "optional-dependencies": {
                    "tensorflow": ["tensorflow>=2.18"],
                    "jax": ["jax"],
                    "docs": ["mkdocs>=1.6,<2"],
                },
            }
        }
    ) == ["keras==3.15.*", "rich==13.0.*", "tensorflow==2.18.*", "tensorflow-cpu==2.18.*"]
    bounded = [line for line in PYPROJECT["project"]["dependencies"] if ">=" in line]
    assert len(lower_bounds(PYPROJECT)) > len(bounded) == len(PYPROJECT["project"]["dependencies"])
