import errno
import os
import shutil
import stat
import subprocess
import sys
import time

import pytest

from keras_dsr.saving import atomic
from keras_dsr.saving.atomic import written_beside
from tests.helpers.files import files_in

pytestmark = pytest.mark.backends("torch")  # no backend does any of it


def write(path, content, parts=1):
    """A file, or with several parts a folder of files."""
    with written_beside(path) as temporary:
        if parts == 1:
            temporary.write_text(content)
        else:
            temporary.mkdir()
            for number in range(parts):
                (temporary / str(number)).write_text(content)


@pytest.mark.parametrize("parts", [1, 3])
def test_what_was_there_is_replaced_whole(tmp_path, parts):
    write(tmp_path / "it", "old", parts)
    write(tmp_path / "it", "new", parts)
    files = [tmp_path / "it"] if parts == 1 else sorted((tmp_path / "it").iterdir())
    assert [file.read_text() for file in files] == ["new"] * parts
    assert files_in(tmp_path) == ["it"]


@pytest.mark.parametrize("parts", [1, 3])
def test_an_error_leaves_what_was_there(tmp_path, parts):
    write(tmp_path / "it", "old", parts)
    with pytest.raises(TypeError), written_beside(tmp_path / "it") as temporary:
        temporary.write_text(len("half"))
    files = [tmp_path / "it"] if parts == 1 else sorted((tmp_path / "it").iterdir())
    assert [file.read_text() for file in files] == ["old"] * parts
    assert files_in(tmp_path) == ["it"]


def test_folders_change_places_at_once_and_elsewhere_by_two_renames(tmp_path, monkeypatch):
    for system in (sys.platform, "elsewhere"):
        monkeypatch.setattr(sys, "platform", system)
        for name in ("it", "replaced"):
            write(tmp_path / name, system, parts=2)
            assert (tmp_path / name / "1").read_text() == system
        assert files_in(tmp_path) == ["it", "replaced"]


def test_leftovers_of_the_dead_are_removed_and_the_work_of_others_is_not(tmp_path):
    (tmp_path / ".it-dead.unfinished").mkdir()
    (tmp_path / ".it-dead.unfinished" / "it").write_text("half")
    for name in (".item-other.unfinished", ".it-backup"):
        (tmp_path / name).mkdir()
    with written_beside(tmp_path / "it") as first:
        first.write_text("first")
        write(tmp_path / "it", "second")  # while the first is not done
        assert first.exists()
    assert (tmp_path / "it").read_text() == "first"
    assert files_in(tmp_path) == [".it-backup", ".item-other.unfinished", "it"]


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path, monkeypatch, parts, exists):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    if exists:
        write(tmp_path / "there" / "it", "old", parts)
    (tmp_path / "there" / "middle").symlink_to("it")  # relative, and a link to a link
    (tmp_path / "here" / "link.txt").symlink_to(tmp_path / "there" / "middle")
    monkeypatch.chdir(tmp_path / "here")
    write("link.txt", "new", parts)
    it = tmp_path / "there" / "it"
    files = [it] if parts == 1 else sorted(it.iterdir())
    assert [file.read_text() for file in files] == ["new"] * parts
    assert os.readlink("link.txt") == str(tmp_path / "there" / "middle") and os.readlink(it.with_name("middle")) == "it"
    assert files_in(tmp_path / "here") == ["link.txt"] and files_in(tmp_path / "there") == ["it", "middle"]


def test_links_that_lead_nowhere_are_named(tmp_path):
    (tmp_path / "lost").symlink_to(tmp_path / "missing" / "it")
    with pytest.raises(
        FileNotFoundError, match="missing' to write 'it' in does not exist .*link '.*lost' leads.*create"
    ):
        write(tmp_path / "lost", "new")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError, match="symbolic link that leads back to itself: remove it.*loop"):
        write(tmp_path / "loop", "new")


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(FileExistsError, match="neither a file nor a folder, and was left alone: give another path"):
            write(tmp_path / name, "new")
    assert (tmp_path / "pipe").is_fifo() and files_in(tmp_path) == ["link", "pipe"]


@pytest.mark.parametrize("kinds", [(1, 3), (3, 1)])
def test_a_file_does_not_take_the_place_of_a_folder_nor_a_folder_that_of_a_file(tmp_path, kinds):
    write(tmp_path / "it", "old", kinds[0])
    with pytest.raises((IsADirectoryError, NotADirectoryError)):
        write(tmp_path / "it", "new", kinds[1])
    assert (tmp_path / "it").is_dir() == (kinds[0] > 1) and files_in(tmp_path) == ["it"]


def permissions(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_permissions_of_the_umask_and_a_replaced_one_keeps_its_own(tmp_path, umask):
    before = os.umask(umask)
    try:
        write(tmp_path / "file", "old")
        write(tmp_path / "folder", "old", parts=2)
        for path, full in (
            (tmp_path / "file", 0o666),
            (tmp_path / "folder", 0o777),
            (tmp_path / "folder" / "1", 0o666),
        ):
            assert permissions(path) == full & ~umask
            path.chmod(0o751)
        write(tmp_path / "file", "new")
        write(tmp_path / "folder", "new", parts=3)
    finally:
        os.umask(before)
    for path in (tmp_path / "file", tmp_path / "folder", tmp_path / "folder" / "1"):
        assert permissions(path) == 0o751
    assert permissions(tmp_path / "folder" / "2") == 0o666 & ~umask


NAMES = [
    "a" * 251 + ".txt",
    "a." + "t" * 253,
    "模" * 85,
    ".hidden",
    "[a]*?.txt",
    "two words\n.txt",
    "-r",
    "~",
    "'\"$HOME",
    "a.",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parts", [1, 3])
def test_a_name_that_the_file_system_takes_is_taken(tmp_path, name, parts):
    for content in ("old", "new"):
        write(tmp_path / name, content, parts)
    file = tmp_path / name if parts == 1 else tmp_path / name / "1"
    assert file.read_text() == "new" and files_in(tmp_path) == [name]


@pytest.mark.parametrize("name", NAMES)
def test_leftovers_of_any_name_are_removed(tmp_path, name):
    with written_beside(tmp_path / name) as temporary:
        temporary.write_text("new")
        shutil.copytree(temporary.parent, tmp_path / f"{temporary.parent.name[:-19]}12345678.unfinished")
    write(tmp_path / name, "newer")
    assert files_in(tmp_path) == [name]


@pytest.mark.parametrize("parts", [1, 3])
def test_what_else_lies_in_the_folder_is_not_opened(tmp_path, parts):
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")  # an error to whoever opens it
    write(tmp_path / "it", "new", parts)
    assert files_in(tmp_path) == ["dangling", "it"]


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing' to write 'it' in does not exist: create it"):
        write(tmp_path / "missing" / "it", "new")


# In a process that imports nothing else, so that it is quickly there to be killed.
REWRITE = """
import importlib.util, pathlib, sys
specification = importlib.util.spec_from_file_location("atomic", sys.argv[1])
atomic = importlib.util.module_from_spec(specification)
specification.loader.exec_module(atomic)
path, parts = pathlib.Path(sys.argv[2]), int(sys.argv[3])
for number in range(10**9):
    with atomic.written_beside(path) as temporary:
        if parts > 1:
            temporary.mkdir()
        for part in range(parts):
            (temporary / str(part) if parts > 1 else temporary).write_text(f"{number} " * 5000)
    print(number, flush=True)
"""


@pytest.mark.parametrize("parts", [1, 3])
def test_a_kill_at_any_moment_leaves_one_whole_version(tmp_path, parts):
    path = tmp_path / "it"
    for round_ in range(20):
        command = [sys.executable, "-c", REWRITE, atomic.__file__, str(path), str(parts)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        for number in range(round_ % 4 + 1):
            assert process.stdout.readline() == b"%d\n" % number
        time.sleep(0.0007 * round_)
        process.kill()
        process.communicate()
        files = [path] if parts == 1 else [path / str(part) for part in range(parts)]
        (version,) = {file.read_text() for file in files}
        found = int(version.split()[0])
        assert version == f"{found} " * 5000 and found >= number
    write(path, "after", parts)
    assert files_in(tmp_path) == ["it"]


def test_a_full_disk_is_said_and_leaves_what_was_there(small_disk):
    (small_disk / "it").write_text("old")
    with pytest.raises(
        OSError, match="The disk is full: 'it' was not written, and what was there before is as it was"
    ) as raised:
        write(small_disk / "it", "new" * 10**6)
    assert raised.value.errno == errno.ENOSPC
    assert (small_disk / "it").read_text() == "old" and files_in(small_disk) == ["it"]
    write(small_disk / "it", "new" * 10**4)  # there is room for that


def test_another_error_of_the_system_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(PermissionError), written_beside(tmp_path / "it"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
