"""Files come back from a change exactly as they were but for the change."""

from __future__ import annotations

import codecs
import os
import signal
import subprocess
import sys
import time

import pytest

from convlint.documents import PythonDocument, write_back
from convlint.errors import UserError


@pytest.mark.parametrize(
    "data",
    [
        b"a = 1\r\nb = 2\r\n",
        b"a = 1\rb = 2",
        codecs.BOM_UTF8 + b"a = '\xc3\xa9'\n",
        b"# -*- coding: latin-1 -*-\na = '\xe9'\n",
        b"# coding: cp1252\na = '\x80'\n",
        codecs.BOM_UTF8 + b"# coding: utf-8\na = 1\n",
    ],
)
def test_text_goes_back_in_the_encoding_it_came_in(data):
    document = PythonDocument("a.py", data)
    assert not document.text.startswith("\ufeff")
    assert document.encode(document.text) == data
    assert document.encode(document.text + "# é\n") == data + (
        "# é\n".encode("latin-1" if b"latin-1" in data or b"cp1252" in data else "utf-8")
    )


def test_a_character_the_encoding_lacks_is_said():
    document = PythonDocument("a.py", b"# coding: latin-1\n")
    with pytest.raises(UserError, match="has no character '日'"):
        document.encode("# 日\n")


def test_an_encoding_that_does_not_give_the_same_bytes_back_is_refused():
    with pytest.raises(UserError, match="cannot be written back"):
        PythonDocument("a.py", b"# coding: utf-7\na = '+AGE-'\n")


def test_what_python_refuses_does_not_parse():
    document = PythonDocument("a.py", b"")
    assert document.parses("a = '\\d'\n")
    assert not document.parses("a = (\n")
    assert not document.parses("a = '\0'\n")


def test_the_mode_stays_and_a_symbolic_link_is_followed(tmp_path):
    target = tmp_path / "real" / "a.py"
    target.parent.mkdir()
    target.write_bytes(b"old")
    target.chmod(0o751)
    link = tmp_path / "link.py"
    link.symlink_to(target)
    write_back(str(link), b"old", b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o751
    assert [entry.name for entry in target.parent.iterdir()] == ["a.py"]


def test_a_file_changed_in_the_meantime_is_not_overwritten(tmp_path):
    file = tmp_path / "a.py"
    file.write_bytes(b"edited")
    with pytest.raises(UserError, match="was changed while it was checked"):
        write_back(str(file), b"old", b"new")
    assert file.read_bytes() == b"edited"


def test_what_cannot_be_written_is_said_and_left(tmp_path, monkeypatch):
    file = tmp_path / "a.py"
    file.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("convlint.documents.os.fsync", full)
    with pytest.raises(UserError, match=r"a\.py: cannot write: No space left on device"):
        write_back(str(file), b"old", b"new")
    assert file.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.py"]


def test_a_file_removed_in_the_meantime_is_said(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        write_back(str(tmp_path / "a.py"), b"old", b"new")


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_run_leaves_the_old_content_or_the_new(tmp_path):
    file = tmp_path / "a.py"
    old, new = b"a" * 300_000, b"b" * 300_000
    program = (
        "import sys; from convlint.documents import write_back\n"
        "old, new = b'a' * 300_000, b'b' * 300_000\n"
        "print(flush=True)\n"
        "while True:\n"
        "    write_back(sys.argv[1], old, new)\n"
        "    write_back(sys.argv[1], new, old)\n"
    )
    for delay in (0.0, 0.003, 0.011, 0.02):
        file.write_bytes(old)
        with subprocess.Popen(
            [sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.read(1)
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        assert file.read_bytes() in (old, new)
