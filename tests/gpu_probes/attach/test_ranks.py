"""Several processes under torchrun: the first reports, all are compared, none is left."""

import json
from pathlib import Path
from statistics import median

import pytest
import torch
from test_overlay import refusal
from torch.distributed.fsdp._common_utils import _set_fsdp_flattened

from convlint.gpu_probes.attach import shadow_tree
from convlint.gpu_probes.attach.ranks import RankWatch, fingerprint
from convlint.gpu_probes.attach.shadow_tree import ShadowTree
from convlint.launch import run_probe
from convlint.report.measured import measured_summary
from convlint.targets import target_of

SCRIPTS = Path(__file__).parent / "scripts" / "ranks"


def probed(name, *arguments, tmp_path, monkeypatch):
    """Observations of two ranks; no process of theirs and no file may be left."""
    monkeypatch.chdir(tmp_path)
    words = ("torchrun", "--nproc-per-node", "2", str(SCRIPTS / name), *arguments)
    seen = run_probe(target_of(words), tier="quick", steps=6, hold=2, budget=120, device="cpu")
    assert list(tmp_path.iterdir()) == []
    assert running(name) == []
    return seen


def running(name):
    """Command lines of living processes that name a script or the launcher of our ranks."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode().split("\0")
            settings = [json.loads(Path(w).read_text()) for w in command if "settings.json" in w]
        except (OSError, ValueError):
            continue
        if any(Path(stored["script"]).name == name for stored in settings):
            found.append(command)
    return found


def said_of_ranks(seen):
    lines = ["".join(text for text, _ in line) for line in measured_summary(seen)]
    return next(line.split(None, 1)[1] for line in lines if line.split()[0] == "ranks")


@pytest.mark.xdist_group("ranks")
def test_data_parallel_ranks_agree(tmp_path, monkeypatch):
    # Where the system allows a layer, both ranks see what programs of either write into it.
    (tmp_path / "private").mkdir()
    (tmp_path / "work").mkdir()
    shell = not refusal(tmp_path / "work")
    options = ("--shell",) if shell else ()
    seen = probed("ddp_digits.py", *options, tmp_path=tmp_path / "work", monkeypatch=monkeypatch)
    assert (seen.stopped, seen.error, seen.held, seen.steps) == ("steps", "", 2, 6)
    ranks = seen.ranks
    assert (ranks.count, ranks.answered, ranks.compared, ranks.sharded) == (2, 2, 6, 0)
    assert (ranks.parameters_differ, ranks.gradients_differ) == ((), ())
    assert ranks.same_batches is False
    assert all(seconds > 0 for seconds in ranks.step_seconds)
    assert "the same after the first step" in said_of_ranks(seen)
    programs = {"shell0.txt", "shell1.txt"} if shell else set()
    assert set(seen.writes_held_back) == {"rank0.pt", *programs}


@pytest.mark.xdist_group("ranks")
def test_ranks_that_train_apart_are_seen(tmp_path, monkeypatch):
    seen = probed("ddp_digits.py", "--fault", "no-ddp", tmp_path=tmp_path, monkeypatch=monkeypatch)
    ranks = seen.ranks
    assert ranks.parameters_differ[:2] == ("0.weight", "0.bias")
    assert ranks.gradients_differ == ranks.parameters_differ
    assert "0.weight differs between them; so do their gradients" in said_of_ranks(seen)


@pytest.mark.xdist_group("ranks")
def test_the_rank_that_crashed_is_told_not_those_it_took_along(tmp_path, monkeypatch):
    seen = probed("ddp_digits.py", "--fault", "crash", tmp_path=tmp_path, monkeypatch=monkeypatch)
    assert (seen.stopped, seen.error) == (
        "crashed",
        "on rank 1: ValueError: no shard for this rank",
    )
    lines = (SCRIPTS / "ddp_digits.py").read_text().splitlines()
    assert "raise ValueError" in lines[seen.error_place.line - 1]


@pytest.mark.xdist_group("ranks")
def test_sharded_parameters_are_followed_and_not_compared(tmp_path, monkeypatch):
    seen = probed("fsdp_digits.py", tmp_path=tmp_path, monkeypatch=monkeypatch)
    assert (seen.stopped, seen.held, seen.steps) == ("steps", 2, 6)
    assert (seen.ranks.compared, seen.ranks.sharded) == (0, 6)
    assert seen.optimizers[0].events[:3] == ("zero_grad", "backward", "step")
    # Ten classes.
    assert seen.series.loss[0] == pytest.approx(2.3026, rel=0.05)


@pytest.mark.xdist_group("ranks")
def test_the_same_batches_on_all_ranks_are_seen(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    first = RankWatch(0, str(tmp_path), lambda _: "weight")
    second = RankWatch(1, str(tmp_path), lambda _: "weight")
    for watch in (first, second):
        watch.batch([torch.ones(4, 2)])
    second.leave("", None)
    ranks = first.compare()
    assert (ranks.answered, ranks.same_batches) == (2, True)
    assert (ranks.step_seconds, ranks.own_seconds) == ((None, None), ((), ()))
    assert ranks.batches_compared == 1


def test_every_rank_is_asked_for_the_time_of_its_steps(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    first = RankWatch(0, str(tmp_path), lambda _: "weight")
    second = RankWatch(1, str(tmp_path), lambda _: "weight")
    for watch, steps in ((first, 3), (second, 4)):
        for _ in range(steps):
            watch.stepped()
            watch.back_propagating()
    second.leave("", None)
    ranks = first.compare()
    assert [len(seconds) for seconds in ranks.own_seconds] == [3, 4]
    assert all(0 <= own < 1 for seconds in ranks.own_seconds for own in seconds)
    assert all(0 <= seconds < 1 for seconds in ranks.step_seconds)


@pytest.mark.xdist_group("ranks")
def test_the_slow_rank_is_told_from_those_that_wait_in_their_forward_pass(tmp_path, monkeypatch):
    # The statistics of batch normalisation are sent by the first rank before each forward pass.
    seen = probed("ddp_digits.py", "--fault", "slow", tmp_path=tmp_path, monkeypatch=monkeypatch)
    slow, other = seen.ranks.own_seconds
    assert len(slow) == len(other) == 5
    assert min(slow) > 0.1 > 2 * median(other)


def test_parameters_that_only_one_rank_has_are_not_compared(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    first = RankWatch(0, str(tmp_path), lambda _: "layers.0.weight")
    second = RankWatch(1, str(tmp_path), lambda _: "layers.4.weight")
    first.after_update([torch.zeros(2)])
    second.after_update([torch.ones(2)])
    second.leave("", None)
    ranks = first.compare()
    assert (ranks.compared, ranks.parameters_differ) == (0, ())


def test_parts_of_parameters_and_an_optimizers_own_copies_are_not_compared(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    whole, part, copy = torch.zeros(2), torch.zeros(2), torch.zeros(2)
    # FSDP marks what it flattened so; the optimizers of ZeRO and Megatron step parts of copies that
    # no loss reaches.
    _set_fsdp_flattened(part)
    name = {id(whole): "0.weight", id(part): "1._flat_param"}
    watches = [RankWatch(n, str(tmp_path), lambda t: name.get(id(t))) for n in (0, 1)]
    for rank, watch in enumerate(watches):
        for tensor in (whole, part, copy):
            tensor.grad = torch.full((2,), float(rank))
        whole.grad.zero_()
        watch.before_update([whole, part, copy])
        part.add_(1.0)
        copy.add_(1.0)
        watch.after_update([whole, part, copy])
    watches[1].leave("", None)
    ranks = watches[0].compare()
    assert (ranks.compared, ranks.sharded) == (1, 1)
    assert (ranks.parameters_differ, ranks.gradients_differ) == ((), ())


@pytest.mark.parametrize(("budget", "answered"), [(30.0, 2), (10.0, 1)])
def test_ranks_that_train_apart_are_waited_for_as_the_budget_allows(
    tmp_path, monkeypatch, budget, answered
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    first = RankWatch(0, str(tmp_path), lambda _: "weight")
    second = RankWatch(1, str(tmp_path), lambda _: "weight")
    now = 0.0

    def sleep(seconds):
        nonlocal now
        now += seconds
        if now > 12.0 and not (tmp_path / "rank1.json").exists():
            second.leave("", None)

    monkeypatch.setattr("convlint.gpu_probes.attach.ranks.time.sleep", sleep)
    monkeypatch.setattr("convlint.gpu_probes.attach.ranks.time.monotonic", lambda: now)
    assert first.compare(elapsed=30.0, budget=30.0 + budget).answered == answered


@pytest.mark.xdist_group("ranks")
def test_steps_are_recorded_though_buffers_are_sent_before_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("torchrun", "--nproc-per-node", "2", str(SCRIPTS / "ddp_digits.py"))
    seen = run_probe(target_of(words), steps=6, hold=3, budget=240, device="cpu", curvature=False)
    # Batch normalisation under DistributedDataParallel: the first rank's statistics are sent.
    assert seen.overfit is not None
    assert seen.overfit.outcome == "fits"
    assert seen.learning_rate_range is not None
    noise = seen.gradient_noise
    assert noise is not None
    assert (noise.batch_size, noise.step_size, noise.gradients) == (32, 64, 9)


def test_fingerprints_tell_bits_apart():
    one = torch.tensor([0.0, 1.0])
    assert fingerprint(one) == fingerprint(one.clone())
    assert fingerprint(one) != fingerprint(torch.tensor([-0.0, 1.0]))
    assert fingerprint(torch.ones(3, dtype=torch.bfloat16)) is not None
    assert fingerprint(torch.ones(2, 3).t()) == fingerprint(torch.ones(3, 2))


def test_what_one_rank_writes_another_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    writer = ShadowTree(str(shadow), [], shared=True)
    reader = ShadowTree(str(shadow), [], shared=True)
    assert not reader.exists(str(tmp_path / "vocabulary.txt"))
    Path(writer.writing("vocabulary.txt", keep=False)).write_text("a b")
    assert reader.exists(str(tmp_path / "vocabulary.txt"))
    assert Path(reader.reading("vocabulary.txt")).read_text() == "a b"


def test_ranks_may_make_the_same_directory_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make = shadow_tree._mkdir

    def make_after_the_other_rank(path):
        make(path)
        make(path)

    monkeypatch.setattr(shadow_tree, "_mkdir", make_after_the_other_rank)
    (tmp_path / "shadow").mkdir()
    tree = ShadowTree(str(tmp_path / "shadow"), [], shared=True)
    Path(tree.writing("log.txt", keep=False)).write_text("a")
    assert Path(tree.reading("log.txt")).read_text() == "a"
