"""The check of `make release-check` finds what a wheel or a source distribution lacks, or has too much."""

import io
import tarfile
import zipfile

import pytest

from setup import REPOSITORY, with_absolute_links
from tests.helpers.distributions import ROOT, problems_of_sdist, problems_of_wheel, version_of

pytestmark = pytest.mark.backends("torch")  # it reads files

IN_GIT = {"keras_dsr/__init__.py", "keras_dsr/py.typed", "tests/conftest.py", "train/run.py", "Makefile"}
MADE = {"PKG-INFO", "setup.cfg", "keras_dsr.egg-info/SOURCES.txt"}


def wheel_of(path, names, readme="Text."):
    with zipfile.ZipFile(path, "w") as wheel:
        for name in names:
            wheel.writestr(name, "")
        wheel.writestr("keras_dsr-1.2.dist-info/METADATA", f"Name: keras-dsr\n\n{readme}\n")
    return path


def sdist_of(path, names):
    with tarfile.open(path, "w:gz") as sdist:
        for name in names:
            sdist.addfile(tarfile.TarInfo(f"keras_dsr-1.2/{name}"), io.BytesIO())
    return path


def test_a_wheel_holds_the_package_alone(tmp_path):
    package = {"keras_dsr/__init__.py", "keras_dsr/py.typed"}
    assert problems_of_wheel(wheel_of(tmp_path / "good", package), IN_GIT, "1.2") == []
    assert problems_of_wheel(wheel_of(tmp_path / "less", package - {"keras_dsr/py.typed"}), IN_GIT, "1.2") == [
        "The wheel lacks keras_dsr/py.typed"
    ]
    assert problems_of_wheel(wheel_of(tmp_path / "more", package | {"train/run.py"}), IN_GIT, "1.2") == [
        "The wheel holds train/run.py, which does not belong there"
    ]


@pytest.mark.parametrize("link", ["[guide](docs/guide.md)", '<img src="docs/a.svg">', "![a](docs/a.svg)"])
def test_links_of_the_readme_lead_somewhere_on_a_package_index(link, tmp_path):
    package = {"keras_dsr/__init__.py", "keras_dsr/py.typed"}
    (problem,) = problems_of_wheel(wheel_of(tmp_path / "relative", package, link), IN_GIT, "1.2")
    assert problem.startswith("The README of the wheel has a relative link: docs/")
    absolute = with_absolute_links(link, "1.2")
    assert f"{REPOSITORY}/blob/v1.2/docs/guide.md" in absolute or f"{REPOSITORY}/raw/v1.2/docs/a.svg" in absolute
    assert problems_of_wheel(wheel_of(tmp_path / "absolute", package, absolute), IN_GIT, "1.2") == []


def test_other_links_stay_as_they_are():
    text = "[a](https://example.org/a) [b](#install) `f(x)` ![c](https://example.org/c.svg)"
    assert with_absolute_links(text, "1.2") == text


def test_a_source_distribution_holds_the_repository(tmp_path):
    assert problems_of_sdist(sdist_of(tmp_path / "good", IN_GIT | MADE), IN_GIT, "1.2") == []
    changed = IN_GIT - {"tests/conftest.py"} | {"notes.txt"}
    assert problems_of_sdist(sdist_of(tmp_path / "changed", changed), IN_GIT, "1.2") == [
        "The source distribution lacks tests/conftest.py",
        "The source distribution holds notes.txt, which does not belong there",
    ]


def test_the_version_is_read_without_an_import():
    namespace = {}
    exec((ROOT / "keras_dsr" / "_version.py").read_text(), namespace)
    assert version_of(ROOT) == namespace["__version__"]
