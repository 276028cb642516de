"""Shapes of healthy training code in which a rule once saw a fault, and the fault beside each."""

from __future__ import annotations

import textwrap

import pytest

from convlint.engine import check_source
from convlint.findings import Confidence
from convlint.rules import find_rule


def found(slug: str, source: str, path: str = "train.py") -> int:
    rule = find_rule(slug)
    assert rule is not None
    text = textwrap.dedent(source)
    return len(check_source(text, path, rules=[rule], min_confidence=Confidence.MEDIUM))


WRAPPED_MODEL = """
    import torch
    from torch import nn

    def fit(loader, batches, half):
        model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 2))
        optimizer = torch.optim.Adam(model.parameters())
        if half:
            from apex import amp
            model, optimizer = amp.initialize(model, optimizer)
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                for x, y in batches:
                    model(x)
            {restore}
    """


def test_one_of_two_models_goes_to_eval_and_back() -> None:
    restored = textwrap.dedent(WRAPPED_MODEL).format(restore="model.train()")
    left = textwrap.dedent(WRAPPED_MODEL).format(restore="pass")
    assert found("eval-mode-in-training", restored) == 0
    assert found("eval-mode-in-training", left) == 1


MODE_BY_SETTING = """
    import torch
    from torch import nn, optim
    from torchvision import models

    def fit(loader, weights):
        model = models.resnet50()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            if weights == "finetune":
                model.train()
            elif weights == "probe":
                model.eval()
            {otherwise}
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
            model.eval()
    """


def test_a_failed_assertion_ends_its_branch() -> None:
    complete = textwrap.dedent(MODE_BY_SETTING).format(
        otherwise="else:\n            assert False, weights"
    )
    open_ended = textwrap.dedent(MODE_BY_SETTING).format(otherwise="")
    assert found("eval-mode-in-training", complete) == 0
    assert found("eval-mode-in-training", open_ended) == 1


GROUPS_WITH_RATES = """
    from torch import nn, optim

    def build(head, backbone, args):
        groups = [dict(params=head.parameters(), lr=args.head)]
        if args.finetune:
            groups.append(dict(params=backbone.parameters(){second}))
        return optim.SGD(groups, 0, momentum=0.9)
    """


def test_groups_bring_rates_that_are_not_known() -> None:
    both = textwrap.dedent(GROUPS_WITH_RATES)
    assert found("lr-negligible", both.format(second=", lr=args.backbone")) == 0


def test_every_group_takes_the_rate_of_zero() -> None:
    source = """
        from torch import nn, optim
        body, head = nn.Linear(8, 16), nn.Linear(16, 2)
        groups = [dict(params=body.parameters()), dict(params=head.parameters())]
        optimizer = optim.SGD(groups, 0, momentum=0.9)
        """
    assert found("lr-negligible", source) == 1


NEVER_STEPPED = """
    import torch
    from torch import nn

    def test_training():
        model = nn.Linear(8, 2)
        for _ in range(3):
            model(torch.randn(4, 8)).sum().backward()

    def test_registration():
        net = nn.Linear(8, 2)
        optimizer = torch.optim.Adam(net.parameters())
        assert len(optimizer.param_groups) == 1

    test_training()
    test_registration()
    """


def test_a_test_builds_an_optimizer_to_look_at_it() -> None:
    assert found("never-stepped", NEVER_STEPPED, "tests/test_registration.py") == 0
    assert found("never-stepped", NEVER_STEPPED, "train.py") == 1


@pytest.mark.parametrize(
    ("line", "faults"),
    [("torch.clamp(mixed, 0, 1, out=mixed)", 0), ("mixed.clamp(0, 1)", 1)],
)
def test_a_result_written_to_out_is_used(line: str, faults: int) -> None:
    source = f"""
        import torch
        mixed = torch.zeros(8, 8) + torch.randn(8, 8)
        {line}
        torch.save(mixed, "mixed.pt")
        """
    assert found("discarded-result", source) == faults


@pytest.mark.parametrize(
    ("gate", "faults"), [("F.softplus(x).tanh()", 0), ("torch.sigmoid(F.relu(x))", 1)]
)
def test_mish_is_one_activation(gate: str, faults: int) -> None:
    source = f"""
        import torch
        from torch import nn
        import torch.nn.functional as F

        class Gate(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(8, 8)

            def forward(self, x):
                x = self.linear(x)
                return x.mul({gate})
        """
    assert found("stacked-activations", source) == faults
