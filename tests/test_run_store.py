"""What a kept run rests on, and a store that is damaged or used by many."""

from __future__ import annotations

import os
import threading
import time

import pytest
from observed import observations

from convlint.run_inputs import RunInputs, changed_since, inputs_of
from convlint.run_store import KEPT_FOR, RUNS_KEPT, KeptRun, RunStore, question_of
from convlint.targets import Target

SEEN = observations(held=0, steps=1)
NOTHING = RunInputs(sources={}, files={}, directories={}, libraries={})


def kept(at: float = 1.0, inputs: RunInputs = NOTHING) -> KeptRun:
    return KeptRun(measured_at=at, inputs=inputs, observations=SEEN)


@pytest.fixture
def notes(tmp_path):
    """Write the notes of one process; give back what the parent makes of them."""
    directory = tmp_path / "notes"
    directory.mkdir()

    def write(*lines: str, sources: tuple[str, ...] = ()) -> RunInputs:
        (directory / "1").write_text("".join(f"{line}\n" for line in lines))
        return inputs_of(directory, sources)

    return write


def test_file_of_other_size_or_time_is_a_change(notes, tmp_path):
    file = tmp_path / "data"
    file.write_text("1")
    status = file.stat()
    inputs = notes(f'["file", "{file}", [{status.st_size}, {status.st_mtime_ns}]]')
    assert inputs.unchanged()
    os.utime(file, ns=(status.st_mtime_ns + 1, status.st_mtime_ns + 1))
    assert not inputs.unchanged()


def test_file_that_was_missing_and_appears_is_a_change(notes, tmp_path):
    inputs = notes(f'["file", "{tmp_path / "data"}", null]')
    assert inputs.unchanged()
    (tmp_path / "data").write_text("")
    assert not inputs.unchanged()


def test_source_is_told_by_its_content_not_its_time(notes, tmp_path):
    source = tmp_path / "a.py"
    source.write_text("a = 1\n")
    inputs = notes(f'["file", "{source}", [1, 1]]', sources=(str(source),))
    os.utime(source, (1, 1))
    assert inputs.unchanged()
    source.write_text("a = 2\n")
    assert not inputs.unchanged()


def test_new_name_in_a_listed_directory_is_a_change_and_a_hidden_one_is_none(notes, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    inputs = notes(f'["directory", "{images}", [1, 1]]')
    (images / ".cache").write_text("")
    assert inputs.unchanged()
    (images / "1.png").write_text("")
    assert not inputs.unchanged()


def test_other_version_of_a_library_is_a_change(notes, tmp_path):
    installed = tmp_path / "site-packages"
    (installed / "numpy-2.0.dist-info").mkdir(parents=True)
    inputs = notes(f'["libraries", "{installed}"]')
    assert inputs.unchanged()
    (installed / "numpy-2.0.dist-info").rename(installed / "numpy-2.1.dist-info")
    assert not inputs.unchanged()


def test_source_written_during_the_run_is_noticed(tmp_path):
    source = tmp_path / "a.py"
    source.write_text("")
    assert changed_since([str(source)], time.time() - 60)
    assert not changed_since([str(source)], time.time() + 60)
    assert changed_since([str(tmp_path / "gone.py")], 0)


def test_newest_run_that_still_holds_is_recalled(tmp_path):
    store = RunStore(tmp_path, "q" * 64)
    gone = RunInputs(
        sources={str(tmp_path / "gone.py"): "x"}, files={}, directories={}, libraries={}
    )
    store.keep(kept(1.0))
    store.keep(kept(2.0, gone))
    recalled = store.recall()
    assert recalled is not None
    assert recalled.measured_at == 1.0
    assert recalled.observations == SEEN
    assert RunStore(tmp_path, "r" * 64).recall() is None


def test_damaged_and_foreign_files_are_passed_over(tmp_path):
    store = RunStore(tmp_path, "q" * 64)
    store.keep(kept())
    (file,) = (tmp_path / "runs-1").iterdir()
    (tmp_path / "runs-1" / f"{'q' * 32}-other").write_bytes(b"no run")
    assert store.recall() is not None
    file.write_bytes(file.read_bytes()[:20])
    assert store.recall() is None


def test_store_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    store = RunStore(tmp_path / "file", "q" * 64)
    store.keep(kept())
    assert store.recall() is None


def test_old_and_surplus_runs_are_dropped(tmp_path):
    for number in range(RUNS_KEPT + 3):
        RunStore(tmp_path, f"{number:064}"[::-1]).keep(kept())
    files = list((tmp_path / "runs-1").iterdir())
    assert len(files) == RUNS_KEPT
    old = time.time() - KEPT_FOR - 60
    for file in files:
        os.utime(file, (old, old))
    RunStore(tmp_path, "q" * 64).keep(kept())
    assert len(list((tmp_path / "runs-1").iterdir())) == 1


def test_readers_see_whole_runs_while_others_write(tmp_path):
    store = RunStore(tmp_path, "q" * 64)
    store.keep(kept())
    seen: list[KeptRun | None] = []

    def write() -> None:
        for number in range(60):
            RunStore(tmp_path, "q" * 64).keep(kept(float(number)))

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen.append(store.recall())
    assert seen
    assert None not in seen


@pytest.mark.parametrize("name", ["CUDA_VISIBLE_DEVICES", "PYTHONPATH", "OMP_NUM_THREADS"])
def test_variable_that_changes_what_is_computed_is_part_of_the_question(monkeypatch, name):
    target, run = Target("a.py"), {"tier": "quick"}
    question = question_of(target, run)
    assert question == question_of(target, dict(run))
    monkeypatch.setenv(name, "7")
    assert question != question_of(target, run)


def test_working_directory_and_interpreter_are_part_of_the_question(monkeypatch, tmp_path):
    target = Target("/a.py")
    question = question_of(target, {})
    assert question != question_of(Target("/a.py", python="/bin/sh"), {})
    monkeypatch.chdir(tmp_path)
    assert question != question_of(target, {})
