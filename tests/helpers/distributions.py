"""What the wheel and the source distribution hold, beside what git holds: `python -m tests.helpers.distributions dist`.

It needs the standard library alone, and is the last step of `make release-check`.
"""

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
RELATIVE_LINK = re.compile(r'(?:\]\(|(?:src|srcset|href)=")(?!https?:|#|mailto:)([^)"\s]*)')


def version_of(root: Path) -> str:
    return re.search(r'__version__ = "(.*)"', (root / "keras_dsr" / "_version.py").read_text())[1]


def files_in_git(root: Path) -> set[str]:
    return set(subprocess.check_output(["git", "ls-files"], cwd=root, text=True).splitlines())


def differences(what: str, found: Iterable[str], expected: Iterable[str]) -> list[str]:
    """A sentence for each file that is in one of the two only."""
    found, expected = set(found), set(expected)
    return [f"{what} lacks {name}" for name in sorted(expected - found)] + [
        f"{what} holds {name}, which does not belong there" for name in sorted(found - expected)
    ]


def problems_of_wheel(path: Path, in_git: set[str], version: str) -> list[str]:
    """The wheel holds the package, as it is in git, and its metadata."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(f"keras_dsr-{version}.dist-info/METADATA").decode()
    found = [name for name in names if not name.startswith(f"keras_dsr-{version}.dist-info/")]
    links = RELATIVE_LINK.findall(metadata.partition("\n\n")[2])
    return differences("The wheel", found, [name for name in in_git if name.startswith("keras_dsr/")]) + [
        f"The README of the wheel has a relative link: {link}" for link in links
    ]


def problems_of_sdist(path: Path, in_git: set[str], version: str) -> list[str]:
    """The source distribution holds all that is in git, and its metadata."""
    with tarfile.open(path) as sdist:
        names = [member.name.partition("/")[2] for member in sdist if member.isfile()]
    made = [name for name in names if name in ("PKG-INFO", "setup.cfg") or name.startswith("keras_dsr.egg-info/")]
    return differences("The source distribution", set(names) - set(made), in_git)


def main(folder: Path) -> int:
    """Print what is wrong with the files in a folder; the exit status."""
    version, in_git = version_of(ROOT), files_in_git(ROOT)
    wheel, sdist = f"keras_dsr-{version}-py3-none-any.whl", f"keras_dsr-{version}.tar.gz"
    problems = differences(str(folder), [path.name for path in folder.iterdir()], [wheel, sdist])
    if not problems:
        problems = problems_of_wheel(folder / wheel, in_git, version)
        problems += problems_of_sdist(folder / sdist, in_git, version)
    print("\n".join(problems) or f"{wheel} holds the package, {sdist} all {len(in_git)} files of the repository.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
