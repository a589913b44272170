"""Imports only point down: from a folder to those above it in this list, which CONTRIBUTING.md shows."""

import ast
import itertools
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = [
    "_version",
    "arguments",
    "schedules",
    "tables",
    "progress",
    "ops",
    "backend",
    "layers",
    "selectors",
    "methods",
    "optimizers",
    "weights",
    "conversion",
    "callbacks",
    "saving",
    "analysis",
    "exporting",
    "shrinking",
    "reporting",
]
TREE = (ROOT / "CONTRIBUTING.md").read_text()

once = pytest.mark.backends("torch")  # it reads text


def imports(path: Path) -> set[str]:
    """The modules that a file imports, by their dotted names, `from package import module` too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def parts() -> list[tuple[str, Path]]:
    """Each file of the library with the folder, or the module at the top, that it belongs to."""
    files = (ROOT / "keras_dsr").rglob("*.py")
    named = [(path.relative_to(ROOT / "keras_dsr").with_suffix("").parts[0], path) for path in files]
    return [(part, path) for part, path in named if part != "__init__"]


@once
def test_the_list_is_complete():
    assert {part for part, _ in parts()} == set(LIBRARY)


@once
def test_no_import_points_up():
    upwards = [
        f"{path.relative_to(ROOT)} imports {module}"
        for part, path in parts()
        for module in imports(path)
        for first, second, *_ in [(*module.split("."), "")]
        if first == "keras_dsr" and second in LIBRARY and LIBRARY.index(second) > LIBRARY.index(part)
    ]
    assert not upwards


@once
def test_files_of_a_folder_import_each_other_in_no_circle():
    for part, files in itertools.groupby(sorted(parts()), key=lambda pair: pair[0]):
        names = {f"keras_dsr.{part}.{path.stem}": path for _, path in files}
        left = {name: imports(path) & set(names) for name, path in names.items()}
        while free := [name for name, needed in left.items() if not needed & set(left)]:
            for name in free:
                del left[name]
        assert not left, f"{part}: {left}"


@once
def test_the_library_does_not_import_the_experiments():
    for _, path in parts():
        assert not {module.split(".")[0] for module in imports(path)} & {"train", "models", "tests", "benchmarks"}


@once
@pytest.mark.parametrize("part", [part for part in LIBRARY if (ROOT / "keras_dsr" / part).is_dir()])
def test_the_tree_that_contributors_see_has_every_folder(part):
    assert f"keras_dsr/{part}/" in TREE
