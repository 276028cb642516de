"""A script sees its own writes, and the disk never does."""

import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from convlint.gpu_probes.attach.held_libraries import hold_library_writes
from convlint.gpu_probes.attach.shadow_tree import ShadowTree
from convlint.launch import run_probe


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working directory with something to lose."""
    directory = tmp_path / "project"
    (directory / "old").mkdir(parents=True)
    (directory / "keep.txt").write_text("kept\n")
    (directory / "old" / "a.txt").write_text("a\n")
    monkeypatch.chdir(directory)
    return directory


def held(project, source):
    """Run ``source`` with writes held back; the project must look as before. The held paths."""
    script = project.parent / "script.py"
    script.write_text(textwrap.dedent(source))
    before = {path: path.is_file() and path.read_text() for path in sorted(project.rglob("*"))}
    seen = run_probe(str(script))
    assert (seen.stopped, seen.error) == ("no-training", "")
    after = {path: path.is_file() and path.read_text() for path in sorted(project.rglob("*"))}
    assert after == before
    return seen.writes_held_back


def test_new_files_and_directories_are_read_back(project):
    paths = held(
        project,
        """
        import os
        from pathlib import Path
        os.makedirs("runs/1/deep")
        Path("runs/1/deep/x.txt").write_text("x")
        assert Path("runs/1/deep/x.txt").read_text() == "x"
        assert os.path.isdir("runs/1") and os.path.getsize("runs/1/deep/x.txt") == 1
        assert sorted(os.listdir(".")) == ["keep.txt", "old", "runs"]
        assert [p.name for p in Path("runs").rglob("*.txt")] == ["x.txt"]
        assert sorted(e.name for e in os.scandir(".")) == ["keep.txt", "old", "runs"]
        with open(os.path.join(os.getcwd(), "runs", "y.bin"), "wb") as file:
            file.write(b"y")
        assert open("runs/y.bin", "rb").read() == b"y"
        """,
    )
    assert paths == ("runs", "runs/1", "runs/1/deep", "runs/1/deep/x.txt", "runs/y.bin")


def test_existing_files_are_appended_and_overwritten_in_the_shadow(project):
    held(
        project,
        """
        with open("keep.txt", "a") as file:
            file.write("more\\n")
        assert open("keep.txt").read() == "kept\\nmore\\n"
        with open("keep.txt", "r+") as file:
            file.write("KEPT")
        assert open("keep.txt").read() == "KEPT\\nmore\\n"
        with open("keep.txt", "w") as file:
            file.write("gone")
        assert open("keep.txt").read() == "gone"
        """,
    )


def test_removing_and_renaming_stay_in_the_scripts_view(project):
    held(
        project,
        """
        import os, shutil
        from pathlib import Path
        os.remove("keep.txt")
        assert not os.path.exists("keep.txt") and "keep.txt" not in os.listdir(".")
        os.rename("old/a.txt", "old/b.txt")
        assert os.listdir("old") == ["b.txt"] and Path("old/b.txt").read_text() == "a\\n"
        shutil.rmtree("old")
        assert not os.path.exists("old/b.txt") and not Path("old").exists()
        os.mkdir("old")
        assert os.listdir("old") == []
        Path("new.tmp").write_text("new")
        os.replace("new.tmp", "new.txt")
        assert Path("new.txt").read_text() == "new" and not Path("new.tmp").exists()
        shutil.copy("new.txt", "copy.txt")
        assert Path("copy.txt").read_text() == "new"
        """,
    )


def test_errors_are_those_of_the_real_calls(project):
    held(
        project,
        """
        import os
        def raised(function, *arguments):
            try:
                function(*arguments)
            except OSError as error:
                return type(error).__name__
        assert raised(open, "nowhere/x", "w") == "FileNotFoundError"
        assert raised(open, "missing", "r+") == "FileNotFoundError"
        assert raised(open, "missing") == "FileNotFoundError"
        assert raised(open, "keep.txt", "x") == "FileExistsError"
        assert raised(open, "old", "w") == "IsADirectoryError"
        assert raised(os.mkdir, "old") == "FileExistsError"
        assert raised(os.remove, "missing") == "FileNotFoundError"
        os.makedirs("old", exist_ok=True)
        """,
    )


def test_temporary_files_work_and_vanish(project):
    paths = held(
        project,
        """
        import os, tempfile
        with tempfile.TemporaryDirectory() as directory:
            with open(os.path.join(directory, "x"), "w") as file:
                file.write("x")
        with tempfile.NamedTemporaryFile("w+") as file:
            file.write("y")
            file.seek(0)
            assert file.read() == "y"
        """,
    )
    assert paths == ()


def test_arrays_tensors_and_pickles(project):
    paths = held(
        project,
        """
        import pickle
        import numpy as np
        import torch
        np.save("a.npy", np.arange(3))
        assert np.load("a.npy").tolist() == [0, 1, 2]
        np.savez("b.npz", x=np.ones(2))
        assert np.load("b.npz")["x"].tolist() == [1.0, 1.0]
        pickle.dump([1], open("c.pkl", "wb"))
        torch.save(torch.ones(2), "d.pt")
        assert torch.load("d.pt").tolist() == [1.0, 1.0]
        assert torch.load("d.pt", mmap=True).tolist() == [1.0, 1.0]
        torch.save({"x": 1}, f="e.pt")
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 1), torch.ones(1, 2)), "f.pt")
        torch.jit.load("f.pt")
        """,
    )
    assert paths == ("a.npy", "b.npz", "c.pkl", "d.pt", "e.pt", "f.pt")


def test_compressed_files_and_logs(project):
    paths = held(
        project,
        """
        import bz2, gzip, logging, lzma, zipfile
        for module, name in ((bz2, "a.bz2"), (gzip, "b.gz"), (lzma, "c.xz")):
            with module.open(name, "wb") as file:
                file.write(b"x")
            assert module.open(name).read() == b"x"
        with zipfile.ZipFile("d.zip", "w") as file:
            file.writestr("inside", "x")
        assert zipfile.ZipFile("d.zip").namelist() == ["inside"]
        logging.basicConfig(filename="e.log", level=logging.INFO)
        logging.info("held")
        assert "held" in open("e.log").read()
        """,
    )
    assert paths == ("a.bz2", "b.gz", "c.xz", "d.zip", "e.log")


def test_byte_code_is_not_left_beside_the_scripts_modules(project):
    (project / "neighbour.py").write_text("x = 1\n")
    held(project, "import sys; sys.path.insert(0, '.'); import neighbour")


def test_databases_and_arrays_are_written_to_the_shadow(project):
    paths = held(
        project,
        """
        import sqlite3
        import numpy
        import torch
        with sqlite3.connect("runs.db") as database:
            database.execute("create table run (loss real)")
            database.execute("insert into run values (0.5)")
        assert sqlite3.connect("file:runs.db?mode=ro", uri=True).execute(
            "select loss from run"
        ).fetchall() == [(0.5,)]
        assert sqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
        numpy.arange(3).tofile("rows.bin")
        assert numpy.fromfile("rows.bin", dtype=int).tolist() == [0, 1, 2]
        numpy.memmap("map.bin", dtype="float32", mode="w+", shape=(4,)).flush()
        """,
    )
    assert set(paths) == {"runs.db", "rows.bin", "map.bin"}


def test_hdf5_files_are_opened_in_the_shadow(tmp_path, monkeypatch):
    (tmp_path / "data.h5").write_text("data")
    monkeypatch.chdir(tmp_path)
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    tree = ShadowTree(str(shadow), [])
    opened = []

    class File:
        def __init__(self, name, mode="r"):
            opened.append((name, mode))

    hold_library_writes(tree)["h5py"](SimpleNamespace(File=File))
    File("data.h5")
    File("data.h5", "a")
    File("data.h5")
    File("new.h5", "w")
    inside = tree.shadow_of(str(tmp_path / "data.h5"))
    new = tree.shadow_of(str(tmp_path / "new.h5"))
    assert opened == [("data.h5", "r"), (inside, "a"), (inside, "r"), (new, "w")]
    assert Path(inside).read_text() == "data"
    assert list(tree.held) == ["data.h5", "new.h5"]
