"""Every way a script can be no good ends in one clear line and leaves no process behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from convlint.launch import ProbeError, run_probe
from convlint.targets import Target


def written(directory: Path, source: str, name: str = "train.py") -> str:
    path = directory / name
    path.write_text(textwrap.dedent(source))
    return str(path)


def probing_processes(script: str) -> list[str]:
    """Command lines of living children that probe ``script``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            settings = next(c for c in command if c.endswith(b"settings.json"))
            probed = json.loads(Path(settings.decode()).read_text())["script"]
        except (OSError, StopIteration, ValueError):
            continue
        if probed == script:
            found.append(entry.name)
    return found


def test_missing_file_is_one_line():
    with pytest.raises(ProbeError, match=r"^nowhere/train\.py: no such file$"):
        run_probe("nowhere/train.py")


def test_directory_is_not_a_script(tmp_path):
    with pytest.raises(ProbeError, match="not a file"):
        run_probe(str(tmp_path))


def test_unknown_device_is_one_line(tmp_path):
    with pytest.raises(ProbeError, match="--device tpu: choose"):
        run_probe(written(tmp_path, "pass"), device="tpu")


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a CUDA device here")
def test_cuda_without_a_device_is_one_line(tmp_path):
    with pytest.raises(ProbeError, match=r"^--device cuda: torch sees no CUDA device$"):
        run_probe(written(tmp_path, "import torch\n"), device="cuda")


def test_missing_interpreter_is_one_line(tmp_path):
    with pytest.raises(ProbeError, match="cannot start"):
        run_probe(written(tmp_path, "pass"), python=str(tmp_path / "python"))


def test_syntax_error_names_the_place(tmp_path):
    script = written(tmp_path, "import torch\nfor x in [1, 2):\n    pass\n")
    with pytest.raises(ProbeError) as raised:
        run_probe(script)
    message = str(raised.value)
    assert message.startswith(f"{script}:2:")
    assert "cannot parse" in message
    assert "\n" not in message


def test_empty_file_never_trains(tmp_path):
    seen = run_probe(written(tmp_path, ""))
    assert (seen.stopped, seen.backwards, seen.steps) == ("no-training", 0, 0)


def test_crash_gives_the_users_line(tmp_path):
    script = written(tmp_path, "def load():\n    raise RuntimeError('no data')\n\nload()\n")
    seen = run_probe(script)
    assert (seen.stopped, seen.error) == ("crashed", "RuntimeError: no data")
    assert seen.error_place is not None
    assert (seen.error_place.path, seen.error_place.line) == (script, 2)


def test_crash_inside_a_library_points_at_the_users_call(tmp_path):
    script = written(tmp_path, "import json\n\njson.loads('{')\n")
    seen = run_probe(script)
    assert seen.stopped == "crashed"
    assert seen.error.startswith("json.decoder.JSONDecodeError")
    assert seen.error_place is not None
    assert seen.error_place.line == 3


@pytest.mark.parametrize("status", ["3", "'give --data'", ""])
def test_sys_exit_before_training(tmp_path, status):
    seen = run_probe(written(tmp_path, f"import sys\nsys.exit({status})\n"))
    assert seen.stopped == "exited"
    assert seen.error.startswith("the script called sys.exit")
    assert status.strip("'") in seen.error


def test_script_sees_what_python_would_give_it(tmp_path):
    (tmp_path / "neighbour.py").write_text("word = 'found'\n")
    script = written(
        tmp_path,
        """
        import os, pickle, sys
        import neighbour
        class Local: pass
        pickle.loads(pickle.dumps(Local()))
        assert __name__ == "__main__" and sys.modules["__main__"].Local is Local
        assert os.path.isabs(__file__) and neighbour.word == "found"
        assert not any("gpu_probes" in entry for entry in sys.path)
        raise SystemExit("|".join([*sys.argv, os.getcwd(), sys.path[0]]))
        """,
    )
    seen = run_probe(script, ["--lr", "0.1"])
    expected = "|".join([script, "--lr", "0.1", str(Path.cwd()), str(tmp_path)])
    assert seen.error == f"the script called sys.exit: {expected}"


def test_module_runs_as_python_would_run_it(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "near.py").write_text("word = 'near'\n")
    written(
        tmp_path / "package",
        """
        import sys
        from .near import word
        assert __name__ == "__main__" and __package__ == "package"
        raise SystemExit("|".join([word, sys.argv[0], *sys.argv[1:], sys.path[0]]))
        """,
    )
    monkeypatch.chdir(tmp_path)
    seen = run_probe(Target("package/train.py", ("--lr", "1"), module="package.train"))
    file = tmp_path / "package" / "train.py"
    assert seen.error == f"the script called sys.exit: near|{file}|--lr|1|{tmp_path}"
    with pytest.raises(ProbeError, match=r"^-m package\.missing: no such module$"):
        run_probe(Target("package.missing", module="package.missing"))


def test_module_with_a_missing_import_crashes_at_its_line(tmp_path, monkeypatch):
    written(tmp_path, "import missing_library\n")
    monkeypatch.chdir(tmp_path)
    seen = run_probe(Target("train.py", module="train"))
    assert (seen.stopped, seen.error_place.line) == ("crashed", 1)
    assert "missing_library" in seen.error


def test_notebook_runs_its_code_cells_in_order(tmp_path):
    cells = [
        ("code", "%matplotlib inline\n!pip install nothing\nwords = ['first']\n"),
        ("markdown", "words = None"),
        ("code", "display(words)\nget_ipython()\nwords.append('second')\n"),
        ("code", "raise RuntimeError(' '.join(words))\n"),
    ]
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"language_info": {"name": "python"}},
        "cells": [
            {"cell_type": kind, "metadata": {}, "source": source, "outputs": []}
            for kind, source in cells
        ],
    }
    path = tmp_path / "train.ipynb"
    path.write_text(json.dumps(notebook))
    seen = run_probe(str(path))
    assert (seen.stopped, seen.error) == ("crashed", "RuntimeError: first second")
    assert seen.error_place.path == str(path)
    path.write_text("{")
    with pytest.raises(ProbeError, match="not a notebook"):
        run_probe(str(path))


def test_options_of_the_interpreter_are_passed_on(tmp_path):
    script = written(tmp_path, "import sys\nsys.exit(f'{sys.flags.optimize} {sys.warnoptions}')\n")
    target = Target(script, python=sys.executable, python_options=("-OO", "-W", "ignore"))
    assert run_probe(target).error == "the script called sys.exit: 2 ['ignore']"


def test_too_much_memory_ends_the_script_at_the_line_that_asked(tmp_path):
    script = written(tmp_path, "keep = []\nkeep.append(b'x' * 2**30)\n")
    seen = run_probe(script, memory_limit=0.5, device="cpu")
    assert (seen.stopped, seen.error_place.line) == ("crashed", 2)
    assert seen.error.startswith("MemoryError")


def test_too_much_memory_of_all_workers_together_ends_the_script(tmp_path):
    script = written(
        tmp_path,
        """
        import os, time
        for _ in range(3):
            if os.fork() == 0:
                keep = b"x" * (200 * 2**20)
                time.sleep(1000)
        time.sleep(1000)
        """,
    )
    with pytest.raises(ProbeError, match=r"hold 0\.[4-9] GiB of memory, more than the 0\.4 GiB"):
        run_probe(script, memory_limit=0.4)
    assert probing_processes(script) == []


def test_a_process_that_leaves_the_group_and_its_parent_is_ended(tmp_path):
    marker = tmp_path / "left"
    script = written(
        tmp_path,
        f"""
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                open({str(marker)!r}, "w").write(str(os.getpid()))
                time.sleep(1000)
            os._exit(0)
        while not os.path.exists({str(marker)!r}) or not open({str(marker)!r}).read():
            time.sleep(0.01)
        """,
    )
    run_probe(script, allow_writes=True)
    left = Path("/proc") / marker.read_text() / "stat"
    # Killed it is, but on a busy machine it may yet have to come to the processor to end.
    given_up = time.monotonic() + 60.0
    while not ended(left) and time.monotonic() < given_up:
        time.sleep(0.05)
    assert ended(left)


def ended(stat: Path) -> bool:
    """Whether the process is gone, but for what its parent has not asked for yet."""
    try:
        return stat.read_text().split()[2] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_input_does_not_hang(tmp_path):
    seen = run_probe(written(tmp_path, "input('name? ')\n"))
    assert (seen.stopped, seen.error[:8]) == ("crashed", "EOFError")


def test_hanging_script_ends_at_the_budget(tmp_path):
    script = written(tmp_path, "import time\nwhile True:\n    time.sleep(1)\n")
    seen = run_probe(script, budget=1.0)
    assert (seen.stopped, seen.backwards) == ("budget", 0)
    assert probing_processes(script) == []


def test_swallowed_exceptions_and_exit_handlers_do_not_keep_it_alive(tmp_path):
    script = written(
        tmp_path,
        """
        import atexit, time
        atexit.register(lambda: time.sleep(1000))
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                pass
        """,
    )
    assert run_probe(script, budget=1.0).stopped == "budget"
    assert probing_processes(script) == []


def test_killed_child_is_reported(tmp_path):
    script = written(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    with pytest.raises(ProbeError, match="died of SIGSEGV"):
        run_probe(script)


def test_workers_of_the_script_end_with_it(tmp_path):
    marker = tmp_path / "worker"
    script = written(
        tmp_path,
        f"""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        open({str(marker)!r}, "w").write(str(child.pid))
        """,
    )
    run_probe(script, allow_writes=True)
    worker = Path("/proc") / marker.read_text() / "stat"
    for _ in range(100):
        if not worker.exists() or worker.read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the script's worker is still running")


def test_print_never_reaches_our_stdout(tmp_path, capfd):
    script = written(tmp_path, "import os\nprint('chatter')\nos.system('echo shell')\n")
    run_probe(script)
    assert capfd.readouterr() == ("", "")
    run_probe(script, script_output="stderr")
    out, err = capfd.readouterr()
    assert out == ""
    assert sorted(err.split()) == ["chatter", "shell"]


def test_interrupt_leaves_no_child(tmp_path):
    script = written(tmp_path, "import time\nprint('up', flush=True)\ntime.sleep(1000)\n")
    program = f"from convlint.launch import run_probe; run_probe({script!r}, budget=500)"
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        deadline = time.monotonic() + 60
        while not probing_processes(script) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert probing_processes(script) != []
        parent.send_signal(signal.SIGINT)
        assert parent.wait(timeout=30) != 0
    finally:
        parent.kill()
    assert probing_processes(script) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["train.py"]


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_killed_parent_leaves_no_child(tmp_path):
    pid_file = tmp_path / "pid"
    script = written(
        tmp_path,
        f"import os, time\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(1000)\n",
    )
    program = (
        f"from convlint.launch import run_probe; run_probe({script!r}, budget=500, "
        "allow_writes=True)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    try:
        deadline = time.monotonic() + 60
        while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        child = Path("/proc") / pid_file.read_text()
    finally:
        parent.kill()
        parent.wait()
    for _ in range(100):
        if not child.exists():
            break
        time.sleep(0.05)
    assert not child.exists()


def test_works_in_an_interpreter_without_convlint(tmp_path):
    """With ``-S``-like isolation: neither convlint nor its dependencies can be imported."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    script = written(
        tmp_path,
        """
        import sys
        try:
            import msgspec
        except ImportError:
            sys.exit("bare")
        """,
    )
    assert run_probe(script, python=str(bare)).error == "the script called sys.exit: bare"


def test_python_without_torch_says_so(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    seen = run_probe(written(tmp_path, "import torch\n"), python=str(bare))
    assert seen.error == "ModuleNotFoundError: No module named 'torch'"


def test_temporary_directory_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    script_directory = tmp_path / "project"
    script_directory.mkdir()
    run_probe(written(script_directory, "open('x.txt', 'w').write('1')\n"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["project"]
