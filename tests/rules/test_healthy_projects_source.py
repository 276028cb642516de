"""Shapes of code from whole projects in which a rule once saw a fault, and the fault beside each."""

from __future__ import annotations

import textwrap

import pytest
from on_source import found

from convlint.engine import check_source
from convlint.findings import Severity
from convlint.rules import find_rule

LAYERS_BY_KIND = """
    from torch import nn

    class Tagger(nn.Module):
        def __init__(self, kind, depth, wrapped):
            super().__init__()
            if kind == "LSTM":
                self.layers = [nn.LSTM(8, 8) for _ in range(depth)]
                if wrapped:
                    self.layers = [nn.Sequential(layer) for layer in self.layers]
            if kind == "GRU":
                self.layers = [nn.GRU(8, 8) for _ in range(depth)]
            {register}

        def forward(self, x):
            for layer in self.layers:
                x, _ = layer(x)
            return x

    model = Tagger("LSTM", 3, False)
    """


def test_a_list_is_registered_under_its_own_name_after_the_branches_that_fill_it() -> None:
    source = textwrap.dedent(LAYERS_BY_KIND)
    assert found("modules-in-plain-list", source.format(register="pass")) > 0
    registered = source.format(register="self.layers = nn.ModuleList(self.layers)")
    assert found("modules-in-plain-list", registered) == 0


MODEL_FROM_TABLE = """
    from torch import nn
    from torchvision import models

    class Encoder(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.table = {{"small": models.resnet18(), "large": models.resnet50()}}
            {choose}

        def pick(self, name):
            try:
                model = self.table[name]
            except KeyError:
                raise ValueError(name)
            else:
                return model

        def forward(self, x):
            return self.{used}(x)

    model = Encoder("small")
    """


def test_a_table_of_models_of_which_the_chosen_one_is_registered() -> None:
    source = textwrap.dedent(MODEL_FROM_TABLE)
    chosen = source.format(choose="self.backbone = self.pick(name)", used="backbone")
    hidden = source.format(choose="self.name = name", used="table[self.name]")
    assert found("modules-in-plain-list", chosen) == 0
    assert found("modules-in-plain-list", hidden) == 1


AFTER_THE_END = """
    import sys
    import torch
    from torch import nn

    model = nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train():
        for step in range(10):
            optimizer.zero_grad()
            loss = model(torch.randn(4, 8)).square().mean()
            loss.backward()
            optimizer.step()

    for epoch in range(10):
        train()
        if epoch > 5:
            print("done")
            {leave}
            optimizer = torch.optim.ASGD(model.parameters(), lr=0.1)
    """


@pytest.mark.parametrize("leave", ["sys.exit(1)", "exit()"])
def test_what_follows_the_end_of_the_process_is_not_run(leave: str) -> None:
    source = textwrap.dedent(AFTER_THE_END)
    assert found("never-stepped", source.format(leave=leave)) == 0


INITIALISED_BY_CLASS = """
    import torch
    from torch import nn

    class Router(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(8, 64))

        def forward(self, x):
            return x @ self.weight.t()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.router = Router()

        def _init_weights(self, module):
            if isinstance(module, {guard}):
                nn.init.normal_(module.weight.data, std=0.02)

        def forward(self, x):
            return self.router(x)

    model = Net()
    model.apply(model._init_weights)
    optimizer = torch.optim.Adam(model.parameters())
    """


def test_an_initialiser_of_the_model_knows_the_class_of_the_parameter() -> None:
    source = textwrap.dedent(INITIALISED_BY_CLASS)
    assert found("uninitialised-parameter", source.format(guard="Router")) == 0
    assert found("uninitialised-parameter", source.format(guard="nn.Linear")) == 1


SWITCHED = """
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(nn.Linear(2, 2).weight)
            self.groups = [[nn.Linear(8, 8), self.token]]

    def switch(model):
        for group in model.groups:
            for part in group:
                if isinstance(part, {guard}):
                    part.requires_grad = False

    switch(Net())
    """


def test_only_the_parameters_of_a_mixed_list_are_switched() -> None:
    source = textwrap.dedent(SWITCHED)
    assert found("requires-grad-typo", source.format(guard="nn.Parameter")) == 0
    assert found("requires-grad-typo", source.format(guard="nn.Linear")) == 1


PROBE = """
    import torch
    from torch import nn
    from torchvision import models

    def train(loader, model, optimizer):
        model.eval()
        for x, y in loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def main(loader):
        model = models.resnet50()
        for name, parameter in model.named_parameters():
            if name not in ("fc.weight", "fc.bias"):
                parameter.requires_grad = {trainable}
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for epoch in range(10):
            train(loader, model, optimizer)

    main(torch.load("loader.pt"))
    """


def test_a_probe_on_frozen_features_trains_in_eval_mode() -> None:
    source = textwrap.dedent(PROBE)
    assert found("eval-mode-in-training", source.format(trainable="False")) == 0
    assert found("eval-mode-in-training", source.format(trainable="True")) == 1


RESCALED = """
    import torch
    from torch import nn
    from apex.parallel.LARC import LARC

    def fit(loader):
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=4.8, momentum=0.9)
        {wrap}
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    """


def test_a_rate_that_is_rescaled_for_each_layer() -> None:
    source = textwrap.dedent(RESCALED)
    wrapped = source.format(wrap="optimizer = LARC(optimizer=optimizer, trust_coefficient=0.001)")
    assert found("sgd-lr-high", wrapped) == 0
    assert found("sgd-lr-high", source.format(wrap="")) == 1


SHOWN = """
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    train_set = TensorDataset(torch.randn(64, 8), torch.randint(0, 2, (64,)))
    train_loader = DataLoader(train_set, batch_size=4)
    model = nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in train_loader:
        {body}
    """


def test_a_loader_whose_samples_are_only_shown() -> None:
    source = textwrap.dedent(SHOWN)
    trains = (
        "optimizer.zero_grad(); nn.functional.cross_entropy(model(x), y).backward(); "
        "optimizer.step()"
    )
    assert found("train-not-shuffled", source.format(body="print(x, y)")) == 0
    assert found("train-not-shuffled", source.format(body=trains)) == 1


DEEP_PLAIN = """
    import torch
    from torch import nn

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                {layers}
            )

        def copy_weights(self, other):
            for mine, theirs in zip(self.layers, other):
                if isinstance(mine, nn.Linear):
                    mine.weight.data = theirs.weight.data

        def forward(self, x):
            return self.layers(x)

    {use}
    """


@pytest.mark.parametrize(
    ("use", "count"),
    [
        ("model = Plain()", 1),
        ("model = Plain(); model.copy_weights(other)", 0),
        ("", 0),
    ],
)
def test_weights_of_a_deep_plain_network_are_copied(use: str, count: int) -> None:
    layers = "nn.Linear(64, 64), nn.ReLU(), " * 10
    source = textwrap.dedent(DEEP_PLAIN).format(layers=layers, use=use)
    assert found("deep-plain-default-init", source) == count


MIXED_HEADS = """
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self, {size}):
            super().__init__()
            self.mix = nn.Parameter(torch.randn({size}, {size}))
            self.norm = nn.LayerNorm(8)

        def forward(self, weights):
            mixed = torch.einsum("b h i j, h g -> b g i j", weights, self.mix)
            return {result}

    """


@pytest.mark.parametrize(
    ("size", "result", "count"),
    [
        ("heads", "mixed", 0),
        ("width", "mixed", 1),
        ("width", "self.norm(mixed.permute(0, 2, 3, 1))", 0),
    ],
)
def test_a_mixture_of_heads_or_what_is_normalised_after(size: str, result: str, count: int) -> None:
    source = textwrap.dedent(MIXED_HEADS).format(size=size, result=result)
    assert found("unscaled-randn-parameter", source) == count


BLOCKS = """
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.inner = nn.Linear(width, width)
            self.outer = nn.Linear(width, width)

        def forward(self, x):
            return self.outer(torch.relu(self.inner(x)))

    class Stack(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.blocks = nn.ModuleList([Block(width) for _ in range(2)])
            self.heads = nn.ModuleList([nn.Linear(width, width) for _ in range(2)])

        def forward(self, x):
            total = x
            for block, head in zip(self.blocks, self.heads):
                {step}
            return total
    """


def test_the_output_of_a_block_feeds_the_next_block_as_well() -> None:
    source = textwrap.dedent(BLOCKS)
    both = source.format(step="x = block(x); total = total + head(x)")
    head_alone = source.format(step="total = total + head(block(x))")
    assert found("stacked-linear", both) == 0
    assert found("stacked-linear", head_alone) == 1


DROPPED_WEIGHTS = """
    import torch
    from torch import nn

    class {name}(nn.Module):
        def __init__(self, module, dropout):
            super().__init__()
            self.module, self.dropout = module, dropout

        def forward(self, x):
            weight = nn.functional.dropout(
                self.module.weight, p=self.dropout, training=self.training
            )
            return nn.functional.linear(x, weight)

    print({name}(nn.Linear(8, 8), dropout=0.9)(torch.randn(2, 8)))
    """


def test_single_weights_may_be_dropped_in_large_numbers() -> None:
    source = textwrap.dedent(DROPPED_WEIGHTS)
    assert found("extreme-dropout", source.format(name="WeightDrop")) == 0
    assert found("extreme-dropout", source.format(name="Noisy")) == 1


RECURRENT_OVER = """
    import torch
    from torch import nn
    {imports}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(8, 8)

        def forward(self, x):
            state = x.unsqueeze(0)
            for _ in range(3):
                out, state = self.gru(x.unsqueeze(0), state)
            return out

    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    for x in torch.load("graphs.pt"):
        optimizer.zero_grad()
        model(x).mean().backward()
        optimizer.step()
    """


def test_a_recurrent_unit_runs_over_the_rounds_of_a_graph_network() -> None:
    source = textwrap.dedent(RECURRENT_OVER)
    assert found("missing-clipping", source.format(imports="import torch_geometric")) == 0
    assert found("missing-clipping", source.format(imports="")) == 1


TWO_CRITICS = """
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    class Critic(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))

        def compute_loss(self, x, wanted):
            return (self.net(x) - wanted).pow(2).mean()

    loader = DataLoader(TensorDataset(torch.randn(256, 8)), batch_size=32, shuffle=True)
    near, far = Critic(), Critic()
    optimizer_near = torch.optim.Adam(near.parameters())
    optimizer_far = torch.optim.Adam(far.parameters())
    for (x,) in loader:
        optimizer_near.zero_grad()
        near_loss = near.compute_loss(x, 1)
        near_loss.backward()
        optimizer_near.step()
        {clear}
        far_loss = {loss}
        far_loss.backward()
        optimizer_far.step()
    """


def test_an_optimizer_steps_for_a_loss_of_its_own_network() -> None:
    source = textwrap.dedent(TWO_CRITICS)
    clear = "optimizer_far.zero_grad()"

    def steps(loss: str, cleared: str = clear) -> int:
        return found("wrong-model-params", source.format(clear=cleared, loss=loss))

    assert steps("near.compute_loss(x, 0)") == 1
    assert steps("far.compute_loss(x, 0)") == 0
    assert steps("far.compute_loss(x, 0) + near.compute_loss(x, 1)") == 0
    # gradients of before may still be there
    assert steps("near.compute_loss(x, 0)", "pass") == 0
    # what is drawn from a distribution comes from a network that is not seen
    assert steps("near.compute_loss(torch.distributions.Normal(far.net(x), 1).rsample(), 0)") == 0


TESTED = """
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
    train_loader = DataLoader(data, batch_size=32, shuffle=True)
    test_loader = DataLoader(data, batch_size=32)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    {more}
    for epoch in range(10):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        {mode}
        for x, y in test_loader:
            print((model(x).data.argmax(1) == y).sum())
    """


def test_an_evaluation_need_not_say_that_it_wants_no_gradients() -> None:
    source = textwrap.dedent(TESTED)
    assert found("eval-missing", source.format(more="", mode="pass")) == 1
    assert found("eval-missing", source.format(more="", mode="model.eval()")) == 0
    # players of a game are often sampled from as they are
    other = "rival = torch.optim.SGD(nn.Linear(8, 2).parameters(), lr=0.1)"
    assert found("eval-missing", source.format(more=other, mode="pass")) == 0


DROPPED_RESULT = """
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Depth(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.ones(()))

        def forward(self, x, residual):
            {call}
            return torch.addcmul(residual, self.mask, x)

    model = Depth()
    """


def test_functions_return_what_they_compute() -> None:
    source = textwrap.dedent(DROPPED_RESULT)
    assert found("discarded-result", source.format(call="F.dropout(self.mask, 0.2)")) == 1
    assert found("discarded-result", source.format(call="F.relu(x)")) == 1
    assert found("discarded-result", source.format(call="F.relu(x, inplace=True)")) == 0
    assert found("discarded-result", source.format(call="x = F.relu(x)")) == 0


ALONE = """
    import argparse
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    from torch.utils.data.distributed import DistributedSampler

    parser = argparse.ArgumentParser()
    parser.add_argument("--distributed", action="store_true")
    args = parser.parse_args()
    train_set = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
    sampler = DistributedSampler(train_set) if args.distributed else {other}
    loader = DataLoader(train_set, batch_size=32, shuffle={shuffle}, sampler=sampler)
    model = nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    """


def test_a_sampler_for_many_processes_leaves_a_single_one_without() -> None:
    source = textwrap.dedent(ALONE)
    assert found("train-not-shuffled", source.format(other="None", shuffle="False")) == 1
    assert found("train-not-shuffled", source.format(other="None", shuffle="sampler is None")) == 0
    another = "torch.utils.data.RandomSampler(train_set)"
    assert found("train-not-shuffled", source.format(other=another, shuffle="False")) == 0
    assert found("train-not-shuffled", source.format(other="make_one()", shuffle="False")) == 0


@pytest.mark.parametrize(("average", "faults"), [("copy.deepcopy(model)", 0), ("model", 1)])
def test_average_is_evaluated_apart_from_the_model(average: str, faults: int) -> None:
    source = f"""
        import copy
        import torch
        from torch import nn

        class Average(nn.Module):
            def __init__(self, model):
                super().__init__()
                self.module = {average}

            def forward(self, x):
                return self.module(x)

        model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1), nn.Linear(4, 1))
        average = Average(model)
        criterion = nn.MSELoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        train_loader, valid_loader = make_loaders()
        model.train()
        for epoch in range(3):
            for i, (x, y) in enumerate(train_loader):
                if i == 0:
                    average(x)
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            average.eval()
            with torch.no_grad():
                print(sum(criterion(average(x), y) for x, y in valid_loader))
        """
    assert found("eval-mode-in-training", source) == faults


SENTENCES = """
    import torch
    from torch import nn

    class Sentences(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(100, 32)
            block = nn.TransformerEncoderLayer(32, 4, batch_first=True)
            self.encoder = nn.TransformerEncoder(block, 2)
            self.head = nn.Linear(32, 5)

        def forward(self, tokens):
            return self.head(self.encoder(self.embedding(tokens)).mean(1))

    model = Sentences()
    {loaded}
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for tokens, labels in make_loader():
        optimizer.zero_grad()
        criterion(model(tokens), labels).backward()
        {clipped}
        optimizer.step()
    """


@pytest.mark.parametrize(
    ("loaded", "clipped", "told"),
    [
        ("pass", "pass", [Severity.INFO]),
        ("pass", "nn.utils.clip_grad_norm_(model.parameters(), 1.0)", []),
        ("model.load_state_dict(torch.load('pretrained.pt'))", "pass", []),
    ],
)
def test_transformer_from_scratch_without_clipping_is_worth_knowing(
    loaded: str, clipped: str, told: list[Severity]
) -> None:
    rule = find_rule("missing-clipping")
    assert rule is not None
    text = textwrap.dedent(SENTENCES.format(loaded=loaded, clipped=clipped))
    assert [finding.severity for finding in check_source(text, "train.py", rules=[rule])] == told
