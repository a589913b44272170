"""Checksums of the files of a folder, in a file that `sha256sum --check` reads."""

import hashlib
import pathlib

NAME = "assets.extra/SHA256SUMS"  # TensorFlow leaves `assets.extra` of a SavedModel to others


def write_checksums(folder: pathlib.Path) -> None:
    """Write the SHA-256 of every file in a folder; `sha256sum --check assets.extra/SHA256SUMS`, run there, compares.

    TensorFlow checks the variables of a SavedModel when it loads it, but not `saved_model.pb`.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files
    ]
    (folder / NAME).parent.mkdir(exist_ok=True)
    (folder / NAME).write_text("".join(lines))
