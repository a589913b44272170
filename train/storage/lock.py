"""One program at a time writes to a folder: a lock that ends with its process."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: two programs are not kept apart there
    fcntl = None

NAME = ".lock"  # of the file in the folder, which is gone when the program has ended by itself


@contextlib.contextmanager
def held(folder: str | Path) -> Iterator[None]:
    """The folder is this process's alone inside the block.

    It is made if it is not there, and removed again if it stays empty. A process that is killed holds nothing any more.
    On a file system without locks, or where nothing can be written, the block runs all the same.

    Raises:
        BlockingIOError: another process holds the folder.
    """
    folder = Path(folder)
    if fcntl is None or (folder.exists() and not folder.is_dir()):
        yield
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(folder / NAME, folder):
            yield
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # it has something in it by now
                path.rmdir()


@contextlib.contextmanager
def _locked(path: Path, folder: Path) -> Iterator[None]:
    try:
        descriptor = _open(path)
    except BlockingIOError:
        raise BlockingIOError(
            f"--out={folder} is in use by {_holder(path)}: only one program at a time writes to a folder. Wait until "
            "that one has ended, or stop it, or pass another --out."
        ) from None
    except OSError:  # nothing can be written there, or its file system has no locks
        descriptor = None
        with contextlib.suppress(OSError):
            path.unlink()
    try:
        yield
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)  # while it is locked: whoever has opened it meanwhile sees that it is gone
            os.close(descriptor)


def _open(path: Path) -> int:
    """The file, locked, with the number of this process in it.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be written or locked.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()} {socket.gethostname()}".encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # another process had it, and has removed it since


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        process, host = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # it has just begun or ended
        return "another process"
    return f"process {process}" if host == socket.gethostname() else f"process {process} on {host}"
