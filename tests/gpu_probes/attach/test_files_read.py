"""The files and directories that a probed script reads are noted, wherever it reads them from."""

from __future__ import annotations

import sqlite3
import textwrap

import pytest

from convlint.launch import run_probe


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working directory with data in it."""
    (tmp_path / "images").mkdir()
    for name in ("a.txt", "images/1.txt", "images/2.txt"):
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_by(project, source, **options):
    """What is noted of a script: files with what is known of each, and directories."""
    (project / "script.py").write_text(textwrap.dedent(source))
    told = []
    seen = run_probe(str(project / "script.py"), on_inputs=told.append, **options)
    assert (seen.stopped, seen.error) == ("no-training", "")
    (inputs,) = told
    own = f"{project}/"
    files = {
        path.removeprefix(own): known
        for path, known in inputs.files.items()
        if path.startswith(own)
    }
    return files, {path.removeprefix(own) for path in inputs.directories if path.startswith(own)}


def test_files_opened_in_any_way_are_noted_with_size_and_time(project):
    sqlite3.connect(project / "b.sqlite").close()
    files, directories = read_by(
        project,
        """
        import os, sqlite3
        from pathlib import Path
        Path("a.txt").read_text()
        os.close(os.open("images/1.txt", os.O_RDONLY))
        sqlite3.connect("b.sqlite").close()
        [p.name for p in Path("images").iterdir()]
        """,
    )
    assert sorted(files) == ["a.txt", "b.sqlite", "images/1.txt"]
    status = (project / "a.txt").stat()
    assert files["a.txt"] == (status.st_size, status.st_mtime_ns)
    assert directories == {"images"}


def test_file_that_is_not_there_is_noted_as_missing(project):
    files, _ = read_by(
        project,
        """
        try:
            open("settings.yaml")
        except FileNotFoundError:
            pass
        """,
    )
    assert files == {"settings.yaml": None}


def test_what_the_script_itself_wrote_is_no_input(project):
    files, _ = read_by(
        project,
        """
        open("new.txt", "w").write("1")
        assert open("new.txt").read() == "1"
        """,
    )
    assert files == {}


def test_files_read_by_workers_are_noted(project):
    files, _ = read_by(
        project,
        """
        import torch
        class Files(torch.utils.data.Dataset):
            def __len__(self):
                return 2
            def __getitem__(self, index):
                return len(open(f"images/{index + 1}.txt").read())
        assert len(list(torch.utils.data.DataLoader(Files(), num_workers=2))) == 2
        """,
        budget=120,
    )
    assert {"images/1.txt", "images/2.txt"} <= set(files)


def test_too_many_files_are_told_not_dropped_in_silence(project):
    for number in range(4100):
        (project / "images" / f"{number}.bin").write_text("")
    (project / "script.py").write_text(
        "for n in range(4100):\n    open(f'images/{n}.bin').close()\n"
    )
    told = []
    run_probe(str(project / "script.py"), on_inputs=told.append)
    assert told[0].unwatched.endswith(".bin")
