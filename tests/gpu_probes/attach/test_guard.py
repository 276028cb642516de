"""Ways to the disk and to the network that are not redirected are refused, in the script's sight."""

import importlib.util
import textwrap

import pytest

from convlint.launch import run_probe


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")

    def run_source(source, **options):
        script = tmp_path / "train.py"
        script.write_text(textwrap.dedent(source))
        seen = run_probe(str(script), device="cpu", tier="quick", budget=60, **options)
        assert seen.error == ""
        assert list((tmp_path / "project").iterdir()) == []
        return seen

    return run_source


def test_writes_by_other_ways_are_refused(run):
    run(
        """
        import io, posix
        def refused(function, *arguments):
            try:
                function(*arguments)
            except PermissionError as error:
                return "convlint holds writes back" in str(error)
        assert refused(io.FileIO, "a.txt", "w")
        assert refused(posix.mkdir, "directory")
        assert refused(posix.open, "b.txt", posix.O_CREAT | posix.O_WRONLY)
        io.FileIO(__file__).read()
        io.FileIO("/dev/null", "w").write(b"x")
        open("c.txt", "w").write("held")
        """
    )


TRAINED = """
    import socket
    import torch
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    def reach(address):
        with socket.socket() as connection:
            connection.settimeout(0.2)
            try:
                connection.connect(address)
            except OSError as error:
                return str(error)
            return "connected"
    refusal = "convlint allows no network"
    server = socket.create_server(("127.0.0.1", 0))
    assert refusal not in reach(("192.0.2.1", 80))
    weight.pow(2).sum().backward()
    optimizer.step()
    assert reach(server.getsockname()) == "connected"
    assert (refusal in reach(("192.0.2.1", 80))) is {refused}
    try:
        socket.getaddrinfo("unknown.invalid", 80)
    except OSError as error:
        assert (refusal in str(error)) is {refused}
"""


def test_no_other_machine_is_reached_once_training_has_begun(run):
    seen = run(TRAINED.replace("{refused}", "True"), hold=0)
    reasons = {s.measurement: s.reason for s in seen.skipped}
    assert reasons["connection to 192.0.2.1"] == "no network once training began"


def test_the_network_can_be_allowed(run):
    run(TRAINED.replace("{refused}", "False"), hold=0, allow_network=True)


def test_trackers_are_offline(run):
    run(
        """
        import os
        assert os.environ["WANDB_MODE"] == "disabled"
        assert os.environ["NEPTUNE_MODE"] == "debug" and os.environ["COMET_MODE"] == "disabled"
        assert os.environ["CLEARML_OFFLINE_MODE"] == "1"
        assert os.environ["MLFLOW_TRACKING_URI"].startswith("file:")
        """
    )


@pytest.mark.skipif(importlib.util.find_spec("safetensors") is None, reason="not installed")
def test_safetensors_are_written_and_read_in_the_shadow(run):
    seen = run(
        """
        import numpy, safetensors, safetensors.numpy, torch
        from safetensors.torch import load_file, save_file
        save_file({"x": torch.ones(2)}, "a.safetensors")
        assert load_file("a.safetensors")["x"].tolist() == [1.0, 1.0]
        safetensors.numpy.save_file({"y": numpy.zeros(1)}, filename="b.safetensors")
        with safetensors.safe_open("b.safetensors", framework="numpy") as file:
            assert list(file.keys()) == ["y"]
        """
    )
    assert seen.writes_held_back == ("a.safetensors", "b.safetensors")


@pytest.mark.skipif(importlib.util.find_spec("h5py") is None, reason="not installed")
def test_hdf5_is_written_and_read_in_the_shadow(run):
    seen = run(
        """
        import h5py
        with h5py.File("a.h5", "w") as file:
            file["x"] = [1.0, 2.0]
        with h5py.File("a.h5") as file:
            assert list(file["x"]) == [1.0, 2.0]
        """
    )
    assert seen.writes_held_back == ("a.h5",)


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="not installed")
def test_tensorboard_writes_to_the_shadow(run):
    seen = run(
        """
        import glob
        from torch.utils.tensorboard import SummaryWriter
        writer = SummaryWriter("runs")
        writer.add_scalar("loss", 1.0, 0)
        writer.close()
        assert len(glob.glob("runs/*")) == 1
        """
    )
    assert any(path.startswith("runs/events") for path in seen.writes_held_back)
