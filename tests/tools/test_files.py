"""Whatever happens while something is written, the old content or the new one is there, never a half."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab_ddpm.tools.files import MACHINE, atomic_path, link_atomically, remove, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_new_file_appears_only_when_the_block_is_done(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old", encoding="utf-8")
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("new", encoding="utf-8")
        assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert (tmp_path / "file").read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["file"]


def test_an_exception_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old", encoding="utf-8")

    def write_half() -> None:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["file"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def write(content: float) -> None:
        with atomic_path(tmp_path / "folder") as temporary:
            (temporary / "part").mkdir(parents=True)
            (temporary / "part" / "one").touch()
            (temporary / "two").write_text(str(1 / content), encoding="utf-8")

    with pytest.raises(ZeroDivisionError):
        write(0)
    assert names(tmp_path) == []
    write(1)
    assert names(tmp_path / "folder") == ["part", "two"]
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_killed_writer_leaves_the_old_file_and_what_can_be_removed(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("old", encoding="utf-8")
    code = """if True:
        import os, signal, sys
        from pathlib import Path
        from lab_ddpm.tools.files import atomic_path
        with atomic_path(Path(sys.argv[1])) as temporary:
            if sys.argv[2] == "folder":
                temporary.mkdir()
                temporary = temporary / "entry"
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert python(code, tmp_path / "file", kind).returncode == -signal.SIGKILL
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert len(names(tmp_path)) == 2
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    # A limit on the size of a file fails a write as a full disk does, without the rights to mount one.
    (tmp_path / "file").write_text("old", encoding="utf-8")
    code = """if True:
        import resource, signal, sys
        from lab_ddpm.tools.files import write_text
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_text(sys.argv[1], "x" * 100_000)
        except OSError as error:
            print(error)
    """
    assert "File too large" in python(code, tmp_path / "file").stdout
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write read-only files and folders")
def test_read_only_folders_are_refused_and_read_only_files_are_not(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("new", encoding="utf-8")
        temporary.chmod(0o444)
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError):
        write_text(tmp_path / "file", "newer")
    tmp_path.chmod(0o755)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "new"


def test_leftovers_are_removed_and_the_rest_is_not(tmp_path: Path) -> None:
    dead = tmp_path / f".writing-4194305.{MACHINE}-folder"  # there is no process of this number
    dead.mkdir()
    (dead / "entry").touch()
    own, running = (f".writing-{process}.{MACHINE}-file" for process in (os.getpid(), os.getppid()))
    elsewhere = ".writing-4194305.abcdef-file"
    for name in (own, running, elsewhere, ".writing-file", "file", ".hidden"):
        (tmp_path / name).touch()
    write_text(tmp_path / "file", "new")
    assert names(tmp_path) == sorted([".hidden", running, elsewhere, ".writing-file", "file"])


def test_a_link_is_replaced_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()  # as in a copy of a run without links
    for name in ("one", "two"):
        (tmp_path / "targets" / name).mkdir(parents=True)
        (tmp_path / "targets" / name / "name").write_text(name, encoding="utf-8")
    for name in ("one", "two"):
        link_atomically(tmp_path / "targets" / name, tmp_path / "best")
        assert (tmp_path / "best" / "name").read_text(encoding="utf-8") == name
    assert names(tmp_path) == ["best", "targets"]
    remove(tmp_path / "best")
    assert names(tmp_path / "targets") == ["one", "two"]
