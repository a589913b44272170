"""Files and folders that appear whole or not at all, whatever happens while they are written."""

import contextlib
import ctypes
import errno
import hashlib
import os
import pathlib
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows: what a killed process left stays until someone removes it
    fcntl = None  # type: ignore[assignment]


SUFFIX = ".unfinished"  # of temporary folders: no hidden folder of the user's is taken for one
LONGEST = 80  # bytes of a name that the name of its temporary folder repeats: some file systems take 143 in all


@contextlib.contextmanager
def written_beside(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A temporary path on the same file system that takes the place of `path` when the block ends without an error.

    What is written there is flushed to the disk before it is renamed, so that neither a kill nor a loss of power leaves
    half of it under its name. What a killed process has left beside `path` is removed. What was there before hands its
    permissions on. A symbolic link stays, and its target is written.

    Args:
        path: a file or a folder, written or not yet; its folder exists.

    Yields:
        The temporary path, which ends as `path` does; the block writes a file or makes a folder there.

    Raises:
        FileNotFoundError: the folder of `path` does not exist.
        FileExistsError: `path` is something else than a file or a folder, such as a device.
        OSError: the disk is full. `path` is as it was before, as after any other error of the block.

    Example:

    >>> with written_beside("report.html") as temporary:
    ...     temporary.write_text("<html></html>")
    """
    given, path = pathlib.Path(path), _target(pathlib.Path(path))
    _remove_leftovers(path)
    try:
        with tempfile.TemporaryDirectory(SUFFIX, _prefix(path), path.parent) as folder, _locked(folder):
            temporary = pathlib.Path(folder) / f"_{given.suffix}"  # never longer than the name itself
            yield temporary
            for part in [*(temporary.rglob("*") if temporary.is_dir() else ()), temporary]:
                _flush(part)
                _take_permissions(part, path / part.relative_to(temporary))
            if path.is_dir() and temporary.is_dir():
                _exchange(temporary, path)  # a folder cannot be renamed over one with files
            else:
                os.replace(temporary, path)
            _flush(path.parent)
    except Exception as error:
        if _is_disk_full(error):
            free = shutil.disk_usage(path.parent).free
            raise OSError(
                errno.ENOSPC,
                f"The disk is full: {path.name!r} was not written, and what was there before is as it was. Its folder "
                f"has {free:,} bytes free now. Make room, or choose another folder",
                str(path),
            ) from error
        raise


def _target(path: pathlib.Path) -> pathlib.Path:
    """Where a path leads, past symbolic links."""
    target = pathlib.Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, "The path is a symbolic link that leads back to itself: remove it", str(path))
    if not target.parent.is_dir():
        link = f" (where the symbolic link {str(path)!r} leads)" if path.is_symlink() else ""
        raise FileNotFoundError(
            f"The folder {str(target.parent)!r} to write {target.name!r} in does not exist{link}: create it."
        )
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise FileExistsError(f"{str(path)!r} is neither a file nor a folder, and was left alone: give another path.")
    return target


def _prefix(path: pathlib.Path) -> str:
    """What the temporary folders of a path, and of no other, begin with."""
    name = os.fsencode(path.name)
    return f".{path.name if len(name) <= LONGEST else hashlib.sha256(name).hexdigest()}-"


def _take_permissions(part: pathlib.Path, old: pathlib.Path) -> None:
    if old.exists():
        os.chmod(part, stat.S_IMODE(old.stat().st_mode))


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says so: libraries hide the number of the error in their texts."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _flush(path: pathlib.Path) -> None:
    """Have the system put a file, or the list of what is in a folder, on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # folders cannot be opened there
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Swap two folders: at once where the system can, else by two renames, between which `path` does not exist."""
    if sys.platform == "linux":
        at_working_directory, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)
        rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if rename is not None and not rename(
            at_working_directory, os.fsencode(temporary), at_working_directory, os.fsencode(path), exchange
        ):
            return
    os.replace(path, temporary.with_name("replaced"))
    os.replace(temporary, path)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """The folder is locked while the block runs: a lock ends with its process, so that leftovers can be told."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_leftovers(path: pathlib.Path) -> None:
    if fcntl is None:
        return
    for folder in path.parent.iterdir():
        if not (folder.name.startswith(_prefix(path)) and folder.name.endswith(SUFFIX)):
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, or locked: someone is writing there
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)
