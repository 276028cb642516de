"""What counts as a rank's own time from a step to the next backward pass, and what does not."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convlint.gpu_probes.attach.measuring import Measuring
from convlint.gpu_probes.attach.own_time import OwnTime, ProcessorWait


class Machine:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.clock = self.waited = self.recording = 0.0
        self.own = OwnTime(lambda: self.recording, lambda: self.clock, lambda: self.waited)

    def works(self, seconds):
        self.clock += seconds

    def waits_for_a_processor(self, seconds):
        self.clock += seconds
        self.waited += seconds

    def records(self, seconds):
        self.clock += seconds
        self.recording += seconds

    @contextlib.contextmanager
    def measures(self):
        began = self.own.begin()
        yield
        self.own.measured(began)

    @contextlib.contextmanager
    def exchanges(self):
        began = self.own.begin()
        yield
        self.own.exchanged(began)


def test_a_rank_is_timed_from_its_step_to_the_next_backward_pass():
    machine = Machine()
    machine.own.back_propagating()
    for seconds in (0.5, 1.0, 1.5):
        machine.own.stepped()
        machine.works(seconds)
        # The first backward pass counts, those accumulated after it wait for the others.
        machine.own.back_propagating()
        machine.works(100.0)
        machine.own.back_propagating()
    assert machine.own.own_seconds() == [0.5, 1.0, 1.5]
    assert machine.own.step_seconds() == pytest.approx(100.75)


def test_the_wait_for_a_processor_is_not_a_ranks_own():
    machine = Machine()
    machine.own.stepped()
    machine.works(1.0)
    machine.waits_for_a_processor(7.0)
    machine.own.back_propagating()
    machine.waits_for_a_processor(5.0)
    machine.own.stepped()
    assert machine.own.own_seconds() == [pytest.approx(1.0)]
    assert machine.own.step_seconds() == pytest.approx(1.0)


def test_a_wait_while_the_clocks_are_read_is_in_both():
    machine = Machine()
    waits = iter([0.0, 5.0])

    def read():
        now = machine.clock
        machine.waits_for_a_processor(next(waits, 0.0))
        return now

    own = OwnTime(lambda: 0.0, read, lambda: machine.waited)
    own.stepped()
    machine.works(1.0)
    own.back_propagating()
    assert own.own_seconds() == [pytest.approx(1.0)]


def test_measurements_and_recording_are_not_a_ranks_own_and_nothing_is_taken_off_twice():
    machine = Machine()
    machine.own.stepped()
    machine.works(1.0)
    with machine.measures():
        machine.works(3.0)
        machine.waits_for_a_processor(2.0)
        machine.records(0.5)
        with machine.exchanges():
            machine.works(0.25)
    machine.records(4.0)
    machine.own.back_propagating()
    machine.own.stepped()
    assert machine.own.own_seconds() == [pytest.approx(1.0)]
    assert machine.own.step_seconds() == pytest.approx(1.0)


def test_the_wait_for_other_ranks_is_a_part_of_the_step_alone():
    machine = Machine()
    machine.own.stepped()
    machine.works(1.0)
    with machine.exchanges():
        machine.works(3.0)
        machine.waits_for_a_processor(2.0)
    machine.own.back_propagating()
    machine.own.stepped()
    assert machine.own.own_seconds() == [pytest.approx(1.0)]
    assert machine.own.step_seconds() == pytest.approx(4.0)


def test_sections_of_the_probe_stop_the_clock():
    measuring, machine = Measuring(), Machine()
    measuring.own_time = machine.own
    machine.own.stepped()
    machine.works(1.0)
    with measuring.section("outer"):
        machine.works(3.0)
        with measuring.section("inner"):
            machine.works(5.0)
    machine.own.back_propagating()
    assert machine.own.own_seconds() == [1.0]


def test_sleep_and_disk_are_a_ranks_own():
    own = OwnTime(lambda: 0.0)
    own.stepped()
    time.sleep(0.05)
    own.back_propagating()
    assert own.own_seconds()[0] >= 0.04


def tells_of_waits():
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[0]) > 0
    except (OSError, ValueError, IndexError):
        return False


@pytest.mark.skipif(not tells_of_waits(), reason="this system does not tell")
def test_work_beside_a_busy_program_takes_as_long_as_alone():
    allowed = os.sched_getaffinity(0)
    processor = {min(allowed)}
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(other.pid, processor)
        os.sched_setaffinity(0, processor)
        own, waited, began = OwnTime(lambda: 0.0), ProcessorWait(), time.perf_counter()
        before = waited.seconds()
        own.stepped()
        started = time.thread_time()
        while (worked := time.thread_time() - started) < 0.3:
            continue
        own.back_propagating()
        took = time.perf_counter() - began
    finally:
        os.sched_setaffinity(0, allowed)
        other.kill()
        other.wait()
    # The other program had about half of the processor.
    assert took > 1.2 * worked
    assert waited.seconds() - before == pytest.approx(took - worked, rel=0.2)
    assert own.own_seconds()[0] == pytest.approx(worked, rel=0.1)


def test_nothing_is_taken_off_where_the_system_does_not_tell(monkeypatch):
    def missing(*_):
        raise FileNotFoundError

    monkeypatch.setattr("convlint.gpu_probes.attach.own_time._open_descriptor", missing)
    assert ProcessorWait().seconds() == 0.0


@pytest.mark.skipif(not tells_of_waits(), reason="this system does not tell")
def test_a_script_that_closes_every_descriptor_leaves_the_clock_going():
    waited = ProcessorWait()
    known = waited.seconds()
    os.close(waited._file)
    assert waited.seconds() == waited.seconds() >= known
