"""Reading the folder of a run."""

import csv
import hashlib
from pathlib import Path


def rows_of(folder) -> list[dict]:
    """The rows of metrics.csv, as text."""
    with open(Path(folder) / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder) -> dict[str, str]:
    """A digest of every file under a folder."""
    files = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
