"""Shapes of healthy training code in which a rule once saw a fault, and the fault beside each."""

from __future__ import annotations

import textwrap

import pytest
from on_source import found

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
        for x in range(10):
            nn.functional.mse_loss(head(body(x)), x).backward()
            optimizer.step()
        """
    assert found("lr-negligible", source) == 1


def test_a_rate_of_zero_waits_for_the_wrapper_that_sets_it() -> None:
    source = """
        import torch
        class Noam:
            def __init__(self, size, optimizer):
                self.size, self.optimizer = size, optimizer

        def build(parameters):
            return Noam(512, torch.optim.Adam(parameters, lr=0.0))
        """
    assert found("lr-negligible", source) == 0


BESIDE_A_LOOP = """
    import torch
    from torch import nn

    def build(model):
        return torch.optim.SGD(model.parameters(), lr=0.1)

    def profile(model, batches):
        {optimizer}
        for x in batches:
            model(x).sum().backward()
    """


def test_a_factory_returns_its_optimizer_to_code_elsewhere() -> None:
    beside = textwrap.dedent(BESIDE_A_LOOP)
    assert found("never-stepped", beside.format(optimizer="pass")) == 0
    assert found("never-stepped", beside.format(optimizer="optimizer = build(model)")) == 1


RESUMED = """
    import torch
    from torch import nn
    model = nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    checkpoint = torch.load("last.pt")
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    {restored}
    for epoch in range(checkpoint["epoch"], 50):
        optimizer.zero_grad()
        model(torch.randn(4, 8)).square().mean().backward()
        optimizer.step()
        scheduler.step()
    """


@pytest.mark.parametrize(
    ("restored", "faults"),
    [("scheduler.last_epoch = checkpoint['epoch'] - 1", 0), ("print(checkpoint['epoch'])", 1)],
)
def test_the_epoch_of_a_schedule_is_set_by_hand(restored: str, faults: int) -> None:
    source = textwrap.dedent(RESUMED).format(restored=restored)
    assert found("resume-without-scheduler", source) == faults


ADAPTER = """
    import torch
    from torch import nn

    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(4, 8))
            {frozen}
            self.scale = nn.Parameter(torch.zeros(4))

        def forward(self, x):
            return nn.functional.linear(x, self.weight) * self.scale

    {built}
    """


@pytest.mark.parametrize(
    ("frozen", "built", "faults"),
    [
        ("self.weight.requires_grad = False", "model = Adapted()", 0),
        ("", "print('built and initialised in another file')", 0),
        ("", "model = Adapted()", 1),
    ],
)
def test_frozen_and_unbuilt_parameters_wait_for_their_values(
    frozen: str, built: str, faults: int
) -> None:
    source = textwrap.dedent(ADAPTER).format(frozen=frozen, built=built)
    assert found("uninitialised-parameter", source) == faults


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
    ("gate", "faults"), [("F.softplus(x).tanh()", 0), ("torch.tanh(F.relu(x))", 1)]
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


SHARED_STEP = """
    import torch
    from torch import nn

    def run(model, optimizer, batches):
        for x, y in batches:
            loss = nn.functional.cross_entropy(model(x), y)
            if {guard}:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    model = nn.Sequential(nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train = torch.utils.data.DataLoader(read("train"), shuffle=True)
    held_out = torch.utils.data.DataLoader(read("held-out"))
    for epoch in range(5):
        run(model, optimizer, train)
        with torch.no_grad():
            run(model, optimizer, held_out)
    """


def test_a_step_shared_with_evaluation_asks_for_gradients_first() -> None:
    asks = textwrap.dedent(SHARED_STEP).format(guard="loss.requires_grad")
    goes_back = textwrap.dedent(SHARED_STEP).format(guard="len(batches) > 1")
    assert found("backward-under-no-grad", asks) == 0
    assert found("backward-under-no-grad", goes_back) == 1


LAYERS_BY_OPTION = """
    import torch
    from torch import nn

    class Reduce(nn.Module):
        def __init__(self, width, kind):
            super().__init__()
            layers = [nn.Linear(8, width)]
            if kind == "relu":
                layers.append(nn.ReLU())
            {second}
                layers.extend([nn.LeakyReLU(0.1)])
            {last}
            self.layers = nn.Sequential(*layers)

        def forward(self, x):
            return self.layers(x)
    """


@pytest.mark.parametrize(
    ("second", "faults"), [('elif kind == "leaky":', 0), ("else:", 0), ('if kind != "x":', 1)]
)
def test_layers_appended_under_an_option_are_alternatives(second: str, faults: int) -> None:
    source = textwrap.dedent(LAYERS_BY_OPTION).format(second=second, last="")
    assert found("stacked-activations", source) == faults


def test_what_a_handler_appends_leaves_the_list_open() -> None:
    handled = """try:
                layers.append(nn.Sigmoid())
            except RuntimeError:
                layers.append(nn.Tanh())"""
    source = textwrap.dedent(LAYERS_BY_OPTION.format(second="else:", last=handled))
    assert found("stacked-activations", source) == 0


CARRIED_REWARDS = """
    import torch
    from torch import nn

    def fit(batches, rewards):
        model = nn.GRU(8, 2, batch_first=True)
        optimizer = torch.optim.Adam(model.parameters())
        for x in batches:
            optimizer.zero_grad()
            output, rewards = model(x, rewards)
            output.square().mean().backward()
            optimizer.step()
            {cut}

    fit(torch.utils.data.DataLoader(read("train"), shuffle=True), torch.zeros(1, 32, 2))
    """


def test_a_state_detached_in_place_is_detached() -> None:
    detached = textwrap.dedent(CARRIED_REWARDS).format(cut="rewards.detach_()")
    carried = textwrap.dedent(CARRIED_REWARDS).format(cut="rewards.size()")
    assert found("hidden-state-not-detached", detached) == 0
    assert found("hidden-state-not-detached", carried) == 1


RESTORED_OPTIMIZER = """
    import torch
    from torch import nn

    model = nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0)
    {restored}
    for x, y in torch.utils.data.DataLoader(read("train"), shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    """


def test_a_checkpoint_brings_its_own_learning_rate() -> None:
    restored = 'optimizer.load_state_dict(torch.load("last.pt")["optimizer"])'
    source = textwrap.dedent(RESTORED_OPTIMIZER)
    assert found("lr-negligible", source.format(restored=restored)) == 0
    assert found("lr-negligible", source.format(restored="")) == 1


ONE_OF_TWO_LOSSES = """
    import torch
    from torch import nn

    class Distillation(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base

        def forward(self, {taken}):
            return self.base(outputs, labels)

    criterion = Distillation(nn.BCEWithLogitsLoss())
    if read("plain"):
        criterion = nn.BCEWithLogitsLoss()
    model = nn.Linear(8, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for x, y in torch.utils.data.DataLoader(read("train"), shuffle=True):
        outputs = model(x)
        loss = criterion(outputs, outputs.detach().sigmoid())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    """


@pytest.mark.parametrize(
    ("taken", "faults"), [("inputs, outputs, labels", 0), ("labels, outputs", 1)]
)
def test_a_loss_that_needs_more_arguments_is_not_the_one_called(taken: str, faults: int) -> None:
    source = textwrap.dedent(ONE_OF_TWO_LOSSES).format(taken=taken)
    assert found("sigmoid-into-bce-logits", source) == faults
