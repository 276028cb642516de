"""Command lines name the program they start, or are refused in one line."""

import sys

import pytest

from convlint.errors import UserError
from convlint.targets import Target, target_of


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "train.py").write_text("")
    (tmp_path / "package" / "__main__.py").write_text("")
    (tmp_path / "train.py").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_script_with_arguments(project):
    assert target_of(("train.py", "--lr", "1")) == Target("train.py", ("--lr", "1"))


def test_a_script_that_does_not_exist_is_still_a_script():
    with pytest.raises(UserError, match=r"nowhere\.py: no such file"):
        target_of(("nowhere.py",)).require()


def test_module_takes_all_words_as_its_arguments(project):
    target = target_of(("--lr", "1"), module="package.train")
    assert target == Target("package/train.py", ("--lr", "1"), module="package.train")
    assert target_of((), module="package").script == "package/__main__.py"
    assert target_of((), module="elsewhere.train").script == "elsewhere.train"


def test_python_command_gives_its_interpreter_and_options(project):
    command = (sys.executable, "-u", "-W", "ignore", "-Xdev", "train.py", "-m", "x")
    assert target_of(command) == Target(
        "train.py",
        ("-m", "x"),
        python=sys.executable,
        python_options=("-u", "-W", "ignore", "-Xdev"),
    )


def test_python_command_with_a_module(project):
    target = target_of((sys.executable, "-m", "package.train", "--lr", "1"))
    assert (target.module, target.arguments) == ("package.train", ("--lr", "1"))
    assert target.script == "package/train.py"


@pytest.mark.parametrize("start", [("torchrun",), (sys.executable, "-m", "torch.distributed.run")])
def test_torchrun_options_end_at_the_script(project, start):
    words = ("--nproc-per-node", "2", "--max-restarts=0", "train.py", "--lr", "1")
    target = target_of((*start, *words))
    assert (target.script, target.arguments) == ("train.py", ("--lr", "1"))
    assert target.torchrun == ("--standalone", "--nproc-per-node", "2", "--max-restarts=0")
    assert target.shown == "torchrun train.py"


def test_torchrun_keeps_the_meeting_point_it_was_given(project):
    target = target_of(("torchrun", "--master-port", "29511", "-m", "package.train"))
    assert target.torchrun == ("--master-port", "29511")
    assert (target.module, target.script) == ("package.train", "package/train.py")


def test_accelerate_options_end_at_the_script(project):
    words = ("--cpu", "--num_processes", "2", "--mixed-precision=no", "train.py", "--lr", "1")
    target = target_of(("accelerate", "launch", *words))
    assert (target.script, target.arguments) == ("train.py", ("--lr", "1"))
    assert target.torchrun == (*words[:4], "--main_process_port", "0")
    assert target.launcher_module == "accelerate.commands.launch"
    assert target.shown == "accelerate launch train.py"


def test_accelerate_starts_modules_and_keeps_the_port_it_was_given(project):
    words = ("--main_process_port", "29511", "-m", "package.train")
    target = target_of((sys.executable, "-m", "accelerate.commands.launch", *words))
    assert target.torchrun == ("--main_process_port", "29511")
    assert (target.module, target.script) == ("package.train", "package/train.py")


def test_another_interpreter_may_be_asked_for(project):
    assert target_of((sys.executable, "train.py"), python="other").python == "other"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give a script, -m MODULE, or a command after --"),
        ((sys.executable, "-c", "1"), "only code in a file can be probed"),
        ((sys.executable,), "the command names no script"),
        ((sys.executable, "-m"), "the module is missing"),
        (("python9", "train.py"), "python9: no such program"),
        (("torchrun", "--nnodes", "2", "train.py"), "only one machine can be probed"),
        (("torchrun", "--no-python", "train"), "torchrun --no-python cannot be followed"),
        (("accelerate", "test"), "only `accelerate launch SCRIPT` can be followed"),
        (("accelerate", "launch", "--tpu", "train.py"), "launch --tpu cannot be followed"),
        (("accelerate", "launch", "--num_machines", "2", "a.py"), "only one machine can be probed"),
        (("accelerate", "launch", "--cpu"), "the command names no script"),
        (("env", "python", "train.py"), "cannot follow the command env"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_line(project, words, said):
    with pytest.raises(UserError, match=said) as raised:
        target_of(words)
    assert "\n" not in str(raised.value)
