"""Hyperparameters fold from wherever people keep them, and say where they were written."""

import pytest
from extraction import extract, objects

from convlint.program.facts import ObjectKind, Value

HEAD = """
import torch
from torch import nn

model = nn.Linear(4, 2)

def train(rate):
    return torch.optim.AdamW(model.parameters(), lr=rate)
"""


def learning_rate(source: str) -> Value:
    """The rate of the one optimizer that has a known one."""
    found = [o.args["lr"] for o in objects(extract(source, HEAD), ObjectKind.OPTIMIZER)]
    (rate,) = [value for value in found if value.known]
    return rate


COMMAND_LINES = {
    "argparse subparsers": (
        """
        import argparse
        p = argparse.ArgumentParser()
        sub = p.add_subparsers(dest="command")
        tuning = sub.add_parser("train")
        tuning.add_argument("--lr", type=float, default=0.5)
        args = p.parse_args()
        train(args.lr)
        """,
        "argparse default",
        "default of --lr, line 14",
    ),
    "argparse parents": (
        """
        import argparse
        common = argparse.ArgumentParser(add_help=False)
        common.add_argument("--lr", type=float, default=0.5)
        p = argparse.ArgumentParser(parents=[common])
        args = p.parse_args()
        train(args.lr)
        """,
        "argparse default",
        "default of --lr, line 12",
    ),
    "argparse group": (
        """
        import argparse
        p = argparse.ArgumentParser()
        g = p.add_argument_group("optim")
        g.add_argument("--lr", type=float, default=0.5)
        args = p.parse_args()
        train(args.lr)
        """,
        "argparse default",
        "default of --lr, line 13",
    ),
    "argparse exclusive": (
        """
        import argparse
        p = argparse.ArgumentParser()
        g = p.add_mutually_exclusive_group()
        g.add_argument("--lr", type=float, default=0.5)
        args = p.parse_args()
        train(args.lr)
        """,
        "argparse default",
        "default of --lr, line 13",
    ),
    "argparse known": (
        """
        import argparse
        p = argparse.ArgumentParser()
        p.add_argument("--lr", type=float, default=0.5)
        args, rest = p.parse_known_args()
        train(args.lr)
        """,
        "argparse default",
        "default of --lr, line 12",
    ),
    "argparse set defaults": (
        """
        import argparse
        p = argparse.ArgumentParser()
        p.add_argument("--lr", type=float, default=0.001)
        p.set_defaults(lr=0.5)
        args = p.parse_args()
        train(args.lr)
        """,
        "argparse default",
        "default of lr, line 13",
    ),
    "argparse boolopt": (
        """
        import argparse
        p = argparse.ArgumentParser()
        p.add_argument("--big", action=argparse.BooleanOptionalAction, default=True)
        p.add_argument("--lr", type=float, default=0.5)
        args = p.parse_args()
        train(args.lr if args.big else 0.5)
        """,
        "argparse default",
        "default of --lr, line 13",
    ),
    "argparse vars": (
        """
        import argparse
        p = argparse.ArgumentParser()
        p.add_argument("--lr", type=float, default=0.5)
        args = vars(p.parse_args())
        train(args["lr"])
        """,
        "argparse default",
        "default of --lr, line 12",
    ),
    "argparse vars kwargs": (
        """
        import argparse
        p = argparse.ArgumentParser()
        p.add_argument("--lr", type=float, default=0.5)
        def main(lr):
            train(lr)
        main(**vars(p.parse_args()))
        """,
        "argparse default",
        "default of --lr, line 12",
    ),
    "argparse func": (
        """
        import argparse
        def get_args():
            p = argparse.ArgumentParser()
            p.add_argument("--lr", type=float, default=0.5)
            return p.parse_args()
        def main(args):
            train(args.lr)
        if __name__ == "__main__":
            main(get_args())
        """,
        "argparse default",
        "default of --lr, line 13",
    ),
    "argparse addto": (
        """
        import argparse
        def add_optim(parser):
            parser.add_argument("--lr", type=float, default=0.5)
            return parser
        def main():
            p = add_optim(argparse.ArgumentParser())
            train(p.parse_args().lr)
        main()
        """,
        "argparse default",
        "default of --lr, line 12",
    ),
    "click": (
        """
        import click
        @click.command()
        @click.option("--lr", default=0.5)
        def main(lr):
            train(lr)
        if __name__ == "__main__":
            main()
        """,
        "click default",
        "default of --lr, line 12",
    ),
    "click kwargs": (
        """
        import click
        @click.command()
        @click.option("--lr", "rate", type=float, default=0.5, show_default=True)
        def main(rate, **rest):
            train(rate)
        main()
        """,
        "click default",
        "default of --lr, line 12",
    ),
    "typer classic": (
        """
        import typer
        app = typer.Typer()
        @app.command()
        def main(lr: float = typer.Option(0.5, "--lr", help="rate")):
            train(lr)
        if __name__ == "__main__":
            app()
        """,
        "typer default",
        "default of --lr, line 13",
    ),
    "typer annotated": (
        """
        import typer
        from typing import Annotated
        def main(lr: Annotated[float, typer.Option(help="rate")] = 0.5):
            train(lr)
        if __name__ == "__main__":
            typer.run(main)
        """,
        "function default",
        "default of lr in main()",
    ),
    "absl": (
        """
        from absl import app, flags
        FLAGS = flags.FLAGS
        flags.DEFINE_float("lr", 0.5, "rate")
        def main(argv):
            train(FLAGS.lr)
        if __name__ == "__main__":
            app.run(main)
        """,
        "absl default",
        "default of --lr, line 12",
    ),
    "absl holder": (
        """
        from absl import app, flags
        _LR = flags.DEFINE_float("lr", 0.5, "rate")
        def main(_):
            train(_LR.value)
        app.run(main)
        """,
        "absl default",
        "default of --lr, line 11",
    ),
    "simple parsing": (
        """
        from dataclasses import dataclass
        from simple_parsing import ArgumentParser
        @dataclass
        class Config:
            lr: float = 0.5
        parser = ArgumentParser()
        parser.add_arguments(Config, dest="config")
        args = parser.parse_args()
        train(args.config.lr)
        """,
        "dataclass default",
        "default of lr in Config",
    ),
    "simple parsing parse": (
        """
        from dataclasses import dataclass
        import simple_parsing
        @dataclass
        class Config:
            lr: float = 0.5
        config = simple_parsing.parse(Config)
        train(config.lr)
        """,
        "dataclass default",
        "default of lr in Config",
    ),
    "hf parser": (
        """
        from dataclasses import dataclass, field
        from transformers import HfArgumentParser
        @dataclass
        class Config:
            lr: float = field(default=0.5, metadata={"help": "rate"})
        @dataclass
        class Data:
            path: str = "x"
        parser = HfArgumentParser((Config, Data))
        config, data = parser.parse_args_into_dataclasses()
        train(config.lr)
        """,
        "dataclass default",
        "default of lr in Config",
    ),
    "hf parser one": (
        """
        from dataclasses import dataclass, field
        from transformers import HfArgumentParser
        @dataclass
        class Config:
            lr: float = 0.5
        config = HfArgumentParser(Config).parse_args_into_dataclasses()[0]
        train(config.lr)
        """,
        "dataclass default",
        "default of lr in Config",
    ),
    "tyro": (
        """
        from dataclasses import dataclass
        import tyro
        @dataclass
        class Args:
            lr: float = 0.5
        args = tyro.cli(Args)
        train(args.lr)
        """,
        "dataclass default",
        "default of lr in Args",
    ),
    "tyro function": (
        """
        import tyro
        def main(lr: float = 0.5):
            train(lr)
        if __name__ == "__main__":
            tyro.cli(main)
        """,
        "function default",
        "default of lr in main()",
    ),
    "draccus": (
        """
        from dataclasses import dataclass
        import draccus
        @dataclass
        class Args:
            lr: float = 0.5
        @draccus.wrap()
        def main(cfg: Args):
            train(cfg.lr)
        main()
        """,
        "dataclass default",
        "default of lr in Args",
    ),
    "pyrallis": (
        """
        from dataclasses import dataclass
        import pyrallis
        @dataclass
        class Args:
            lr: float = 0.5
        cfg = pyrallis.parse(config_class=Args)
        train(cfg.lr)
        """,
        "dataclass default",
        "default of lr in Args",
    ),
    "environ get": (
        """
        import os
        lr = float(os.environ.get("LR", "0.5"))
        train(lr)
        """,
        "environment default",
        "default of $LR, line 11",
    ),
    "getenv": (
        """
        import os
        lr = float(os.getenv("LR", 0.5))
        train(lr)
        """,
        "environment default",
        "default of $LR, line 11",
    ),
}

CLASSES = {
    "dataclass field": (
        """
        from dataclasses import dataclass, field
        @dataclass
        class Config:
            lr: float = field(default=0.5)
        train(Config().lr)
        """,
        "dataclass default",
        "default of lr in Config",
    ),
    "dataclass factory": (
        """
        from dataclasses import dataclass, field
        @dataclass
        class Optim:
            lr: float = 0.5
        @dataclass
        class Config:
            optim: Optim = field(default_factory=Optim)
            betas: list = field(default_factory=lambda: [0.9, 0.99])
        train(Config().optim.lr)
        """,
        "dataclass default",
        "default of lr in Optim",
    ),
    "dataclass inherit": (
        """
        from dataclasses import dataclass
        @dataclass
        class Base:
            lr: float = 0.001
            wd: float = 0.0
        @dataclass
        class Config(Base):
            lr: float = 0.5
        train(Config(wd=0.1).lr)
        """,
        "dataclass default",
        "default of lr in Config",
    ),
    "dataclass replace": (
        """
        from dataclasses import dataclass, replace
        @dataclass
        class Config:
            lr: float = 0.001
        config = replace(Config(), lr=0.5)
        train(config.lr)
        """,
        "literal",
        "",
    ),
    "pydantic": (
        """
        from pydantic import BaseModel, Field
        class Optim(BaseModel):
            lr: float = Field(0.5, gt=0)
        class Config(BaseModel):
            optim: Optim = Optim()
        train(Config().optim.lr)
        """,
        "dataclass default",
        "default of lr in Optim",
    ),
    "pydantic default kw": (
        """
        from pydantic import Field
        from pydantic_settings import BaseSettings
        class Config(BaseSettings):
            lr: float = Field(default=0.5)
        settings = Config()
        train(settings.lr)
        """,
        "dataclass default",
        "default of lr in Config",
    ),
    "namedtuple": (
        """
        from typing import NamedTuple
        class Config(NamedTuple):
            lr: float = 0.5
        train(Config().lr)
        """,
        "dataclass default",
        "default of lr in Config",
    ),
    "collections namedtuple": (
        """
        from collections import namedtuple
        Config = namedtuple("Config", ["lr", "epochs"])
        c = Config(lr=0.5, epochs=3)
        train(c.lr)
        """,
        "literal",
        "",
    ),
    "collections namedtuple defaults": (
        """
        from collections import namedtuple
        Config = namedtuple("Config", "epochs lr", defaults=(3, 0.5))
        train(Config().lr)
        """,
        "literal",
        "",
    ),
    "attrs define": (
        """
        import attrs
        @attrs.define
        class Config:
            lr: float = attrs.field(default=0.5)
        train(Config().lr)
        """,
        "dataclass default",
        "default of lr in Config",
    ),
    "attr s": (
        """
        import attr
        @attr.s
        class Config:
            lr = attr.ib(default=0.5)
        train(Config().lr)
        """,
        "literal",
        "",
    ),
    "attrs plain": (
        """
        from attrs import define, Factory
        @define
        class Config:
            lr: float = 0.5
        train(Config().lr)
        """,
        "dataclass default",
        "default of lr in Config",
    ),
    "class config": (
        """
        class Config:
            lr = 0.5
        train(Config.lr)
        """,
        "literal",
        "",
    ),
    "class config inst": (
        """
        class Config:
            lr = 0.5
        cfg = Config()
        train(cfg.lr)
        """,
        "literal",
        "",
    ),
    "class init kwargs": (
        """
        class Config:
            def __init__(self, lr=0.5, **kwargs):
                self.lr = lr
                for k, v in kwargs.items():
                    setattr(self, k, v)
        train(Config().lr)
        """,
        "function default",
        "default of lr in __init__()",
    ),
}

TABLES = {
    "dict nested": (
        """
        cfg = {"optim": {"lr": 0.5}}
        train(cfg["optim"]["lr"])
        """,
        "literal",
        "",
    ),
    "dict call": (
        """
        base = dict(epochs=3, lr=0.001)
        cfg = dict(base, lr=0.5)
        train(cfg["lr"])
        """,
        "literal",
        "",
    ),
    "dict spread": (
        """
        base = {"lr": 0.001}
        cfg = {**base, "lr": 0.5}
        train(cfg["lr"])
        """,
        "literal",
        "",
    ),
    "dict spread call": (
        """
        base = {"lr": 0.5}
        cfg = dict(**base, epochs=3)
        train(cfg["lr"])
        """,
        "literal",
        "",
    ),
    "dict update": (
        """
        cfg = {"lr": 0.001}
        cfg.update({"lr": 0.5})
        train(cfg["lr"])
        """,
        "literal",
        "",
    ),
    "dict update kw": (
        """
        cfg = {"lr": 0.001}
        cfg.update(lr=0.5)
        train(cfg["lr"])
        """,
        "literal",
        "",
    ),
    "dict get": (
        """
        cfg = {"epochs": 1}
        train(cfg.get("lr", 0.5))
        """,
        "literal",
        "",
    ),
    "dict get2": (
        """
        cfg = {"lr": 0.5}
        train(cfg.get("lr"))
        """,
        "literal",
        "",
    ),
    "dict or": (
        """
        cfg = {"lr": 0.001} | {"lr": 0.5}
        train(cfg["lr"])
        """,
        "literal",
        "",
    ),
    "dict ior": (
        """
        cfg = {"lr": 0.001}
        cfg |= {"lr": 0.5}
        train(cfg["lr"])
        """,
        "literal",
        "",
    ),
    "dict setdefault": (
        """
        cfg = {"epochs": 3}
        cfg.setdefault("lr", 0.5)
        train(cfg["lr"])
        """,
        "literal",
        "",
    ),
    "dict kwargs": (
        """
        cfg = {"lr": 0.5, "weight_decay": 0.01}
        torch.optim.AdamW(model.parameters(), **cfg)
        """,
        "literal",
        "",
    ),
    "dict assign": (
        """
        cfg = {}
        cfg["optim"] = {}
        cfg["optim"]["lr"] = 0.5
        train(cfg["optim"]["lr"])
        """,
        "module constant",
        "",
    ),
    "simplenamespace": (
        """
        from types import SimpleNamespace
        cfg = SimpleNamespace(lr=0.5)
        train(cfg.lr)
        """,
        "literal",
        "",
    ),
    "simplenamespace spread": (
        """
        from types import SimpleNamespace
        d = {"lr": 0.5}
        cfg = SimpleNamespace(**d)
        train(cfg.lr)
        """,
        "literal",
        "",
    ),
    "namespace": (
        """
        import argparse
        args = argparse.Namespace(lr=0.5)
        train(args.lr)
        """,
        "literal",
        "",
    ),
    "edict": (
        """
        from easydict import EasyDict as edict
        cfg = edict()
        cfg.lr = 0.5
        train(cfg.lr)
        """,
        "module constant",
        "",
    ),
    "edict dict": (
        """
        from easydict import EasyDict as edict
        cfg = edict({"optim": {"lr": 0.5}})
        train(cfg.optim.lr)
        """,
        "literal",
        "",
    ),
    "edict nested": (
        """
        from easydict import EasyDict as edict
        cfg = edict()
        cfg.TRAIN = edict()
        cfg.TRAIN.LR = 0.5
        train(cfg.TRAIN.LR)
        """,
        "module constant",
        "",
    ),
    "munch": (
        """
        from munch import Munch, munchify
        cfg = munchify({"optim": {"lr": 0.5}})
        train(cfg.optim.lr)
        """,
        "literal",
        "",
    ),
    "munch2": (
        """
        from munch import Munch
        cfg = Munch(lr=0.5)
        train(cfg["lr"])
        """,
        "literal",
        "",
    ),
    "ml collections": (
        """
        import ml_collections
        def get_config():
            config = ml_collections.ConfigDict()
            config.optim = ml_collections.ConfigDict()
            config.optim.lr = 0.5
            return config
        cfg = get_config()
        train(cfg.optim.lr)
        """,
        "literal",
        "",
    ),
    "ml collections2": (
        """
        from ml_collections import config_dict
        cfg = config_dict.ConfigDict({"lr": 0.5})
        train(cfg.lr)
        """,
        "literal",
        "",
    ),
    "yacs": (
        """
        from yacs.config import CfgNode as CN
        _C = CN()
        _C.SOLVER = CN()
        _C.SOLVER.BASE_LR = 0.5
        cfg = _C.clone()
        train(cfg.SOLVER.BASE_LR)
        """,
        "module constant",
        "",
    ),
    "addict": (
        """
        from addict import Dict
        cfg = Dict()
        cfg.optim.lr = 0.5
        train(cfg.optim.lr)
        """,
        "module constant",
        "",
    ),
    "omegaconf structured": (
        """
        from dataclasses import dataclass
        from omegaconf import OmegaConf
        @dataclass
        class Config:
            lr: float = 0.5
        cfg = OmegaConf.structured(Config)
        train(cfg.lr)
        """,
        "dataclass default",
        "default of lr in Config",
    ),
    "wandb config": (
        """
        import wandb
        wandb.init(project="x", config={"lr": 0.5})
        train(wandb.config.lr)
        """,
        "literal",
        "",
    ),
    "wandb config2": (
        """
        import wandb
        run = wandb.init(project="x", config=dict(lr=0.5))
        cfg = run.config
        train(cfg["lr"])
        """,
        "literal",
        "",
    ),
    "omegaconf create": (
        """
        from omegaconf import OmegaConf
        cfg = OmegaConf.create({"optim": {"lr": 0.5}})
        train(cfg.optim.lr)
        """,
        "literal",
        "",
    ),
}

MODULES = {
    "lightning hparams": (
        """
        import lightning as L
        class Lit(L.LightningModule):
            def __init__(self, width=4, lr=0.5):
                super().__init__()
                self.save_hyperparameters()
                self.net = nn.Linear(4, 2)
            def training_step(self, batch, i):
                x, y = batch
                return nn.functional.cross_entropy(self.net(x), y)
            def configure_optimizers(self):
                return torch.optim.AdamW(self.net.parameters(), lr=self.hparams.lr)
        lit = Lit()
        """,
        "function default",
        "default of lr in __init__()",
    ),
    "lightning hparams item": (
        """
        import pytorch_lightning as pl
        class Lit(pl.LightningModule):
            def __init__(self, lr=0.001):
                super().__init__()
                self.save_hyperparameters("lr")
                self.net = nn.Linear(4, 2)
            def configure_optimizers(self):
                return torch.optim.AdamW(self.net.parameters(), lr=self.hparams["lr"])
        lit = Lit(lr=0.5)
        """,
        "literal",
        "",
    ),
    "lightning hparams args": (
        """
        import argparse
        import pytorch_lightning as pl
        class Lit(pl.LightningModule):
            def __init__(self, args):
                super().__init__()
                self.save_hyperparameters(args)
                self.net = nn.Linear(4, 2)
            def configure_optimizers(self):
                return torch.optim.AdamW(self.net.parameters(), lr=self.hparams.lr)
        p = argparse.ArgumentParser()
        p.add_argument("--lr", type=float, default=0.5)
        lit = Lit(p.parse_args())
        """,
        "argparse default",
        "default of --lr, line 20",
    ),
}

ALL = COMMAND_LINES | CLASSES | TABLES | MODULES


@pytest.mark.parametrize(("source", "kind", "text"), ALL.values(), ids=ALL)
def test_learning_rate_folds_and_says_where_it_was_written(
    source: str, kind: str, text: str
) -> None:
    value = learning_rate(source)
    assert value.number == 0.5
    assert value.origin is not None
    assert (value.origin.kind, value.origin.text) == (kind, text)
    if text.startswith("default of --"):
        assert value.origin.location is not None
        assert text.endswith(f"line {value.origin.location.line}")


def candidates(source: str) -> set[object]:
    """Every value that the rate of some optimizer is known to take."""
    program = extract(source, HEAD)
    return {c for o in objects(program, ObjectKind.OPTIMIZER) for c in o.args["lr"].candidates}


def test_subcommands_that_disagree_leave_either_value() -> None:
    assert candidates(
        """
        import argparse
        parser = argparse.ArgumentParser()
        commands = parser.add_subparsers()
        commands.add_parser("train").add_argument("--lr", type=float, default=0.1)
        commands.add_parser("tune").add_argument("--lr", type=float, default=0.2)
        train(parser.parse_args().lr)
        """
    ) == {0.1, 0.2}


def test_number_of_processes_is_not_taken_from_its_default() -> None:
    assert not candidates(
        """
        import os
        train(0.1 * int(os.environ.get("WORLD_SIZE", 1)))
        """
    )


def test_file_merged_from_elsewhere_may_change_every_setting() -> None:
    assert not candidates(
        """
        from yacs.config import CfgNode
        cfg = CfgNode()
        cfg.LR = 0.5
        cfg.merge_from_file(path)
        train(cfg.LR)
        """
    )


def test_unknown_keywords_may_change_every_field() -> None:
    assert not candidates(
        """
        from dataclasses import dataclass
        @dataclass
        class Config:
            lr: float = 0.5
        train(Config(**read()).lr)
        """
    )


def test_post_init_changes_a_field() -> None:
    assert candidates(
        """
        from dataclasses import dataclass
        @dataclass
        class Config:
            lr: float = 0.5
            devices: int = 2
            def __post_init__(self):
                self.lr = self.lr * self.devices
        train(Config().lr)
        """
    ) == {1.0}


def test_hyperparameters_left_out_are_not_kept() -> None:
    source = """
        import lightning as L
        class Lit(L.LightningModule):
            def __init__(self, lr=0.5):
                super().__init__()
                self.save_hyperparameters(ignore=["lr"])
            def configure_optimizers(self):
                return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)
        """
    assert not candidates(source)
