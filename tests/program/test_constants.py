"""Constants fold through the places people keep hyperparameters in, and say where they came from."""

import pytest
from extraction import extract, objects

from convlint.program.facts import Loop, ObjectKind, Value


def learning_rate(source: str) -> Value:
    program = extract(source, "import torch\nimport torch.nn as nn\nmodel = nn.Linear(2, 2)\n")
    return objects(program, ObjectKind.OPTIMIZER)[0].args["lr"]


@pytest.mark.parametrize(
    ("source", "number", "origin"),
    [
        ("torch.optim.SGD(model.parameters(), lr=1e-3 * 2)", 2e-3, "computed"),
        ("LR = 3e-4\ntorch.optim.SGD(model.parameters(), LR)", 3e-4, "module constant"),
        ("torch.optim.Adam(model.parameters())", 1e-3, "library default"),
        (
            """
            import argparse
            parser = argparse.ArgumentParser()
            parser.add_argument("-l", "--learning-rate", type=float, default="0.05")
            args = parser.parse_args()
            torch.optim.SGD(model.parameters(), lr=args.learning_rate)
            """,
            0.05,
            "argparse default",
        ),
        (
            """
            from dataclasses import dataclass
            @dataclass
            class Config:
                lr: float = 0.02
            config = Config()
            torch.optim.SGD(model.parameters(), lr=config.lr)
            """,
            0.02,
            "dataclass default",
        ),
        (
            """
            def build(rate=0.25):
                return torch.optim.SGD(model.parameters(), lr=rate)
            build()
            """,
            0.25,
            "function default",
        ),
        (
            """
            import click
            @click.command()
            @click.option("--lr", default=0.125)
            def main(lr):
                torch.optim.SGD(model.parameters(), lr=lr)
            if __name__ == "__main__":
                main()
            """,
            0.125,
            "click default",
        ),
        (
            """
            settings = {"optim": {"lr": 0.5}}
            torch.optim.SGD(model.parameters(), lr=settings["optim"]["lr"])
            """,
            0.5,
            "literal",
        ),
        (
            """
            class Trainer:
                def __init__(self, lr):
                    self.lr = lr
                    self.optimizer = torch.optim.SGD(model.parameters(), lr=self.lr)
            Trainer(lr=0.75)
            """,
            0.75,
            "literal",
        ),
    ],
)
def test_learning_rate_folds_with_its_origin(source: str, number: float, origin: str) -> None:
    value = learning_rate(source)
    assert value.number == pytest.approx(number)
    assert value.origin is not None
    assert value.origin.kind == origin


def test_argparse_origin_cites_the_flag_and_its_line() -> None:
    value = learning_rate(
        """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float, default=0.1)
        torch.optim.SGD(model.parameters(), lr=parser.parse_args().lr)
        """
    )
    assert value.origin is not None
    assert value.origin.text == "default of --lr, line 7"


def test_value_that_depends_on_a_branch_keeps_both_candidates() -> None:
    value = learning_rate(
        "import sys\nrate = 0.1 if len(sys.argv) > 1 else 0.2\n"
        "torch.optim.SGD(model.parameters(), lr=rate)"
    )
    assert set(value.candidates) == {0.1, 0.2}
    assert value.number is None


def test_value_from_outside_is_unknown() -> None:
    value = learning_rate(
        "import os\ntorch.optim.SGD(model.parameters(), lr=float(os.environ['LR']))"
    )
    assert not value.known


def test_constant_changed_in_a_loop_is_unknown_after_it() -> None:
    value = learning_rate(
        """
        rate = 1.0
        while rate > 0.1:
            rate = rate * 0.5
        torch.optim.SGD(model.parameters(), lr=rate)
        """
    )
    assert not value.known


def test_gain_of_an_activation_folds() -> None:
    program = extract(
        """
        layer = nn.Linear(3, 3)
        nn.init.xavier_uniform_(layer.weight, gain=nn.init.calculate_gain("tanh"))
        """,
        "import torch.nn as nn\n",
    )
    assert program.initialisations[0].args["gain"].number == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    "bounds", ["", "1, 5, 0", "1, 2, 3, 4, 5", "10**30", "0, 2**64, 2"], ids=lambda b: b or "none"
)
def test_a_range_that_python_refuses_or_cannot_count_is_unknown(bounds: str) -> None:
    program = extract(
        f"""
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range({bounds}):
            optimizer.step()
        """,
        "import torch\nimport torch.nn as nn\nmodel = nn.Linear(2, 2)\n",
    )
    (loop,) = (node for node in program.entries[0].body if isinstance(node, Loop))
    assert loop.trips == Value()
