"""Models: layers, data flow of forward, initialisation, hidden submodules."""

from extraction import chain, extract, objects

from convlint.program.facts import ObjectKind

IMPORTS = """
import torch
import torch.nn as nn
import torch.nn.functional as F
"""


def test_forward_of_a_class_gives_its_operations_in_one_vocabulary() -> None:
    program = extract(
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(1, 8, 3)
                self.act = nn.ReLU()
                self.fc = nn.Linear(8, 10)

            def forward(self, x):
                x = self.act(self.conv(x))
                x = torch.flatten(F.relu(x), 1)
                return self.fc(x).log_softmax(dim=1)
        """,
        IMPORTS,
    )
    model = program.models[0]
    assert model.cls == "snippet.Net"
    assert model.forward_known
    assert chain(program, model.outputs[0]) == [
        "log_softmax",
        "linear",
        "flatten",
        "relu",
        "relu",
        "conv2d",
        "<input>",
    ]
    assert [program.objects[i].cls for i in model.layers] == [
        "torch.nn.Conv2d",
        "torch.nn.ReLU",
        "torch.nn.Linear",
    ]


def test_layers_built_in_a_loop_from_a_configuration_are_all_there() -> None:
    program = extract(
        """
        def make_layers(sizes, norm):
            layers = []
            for a, b in zip(sizes[:-1], sizes[1:]):
                layers += [nn.Linear(a, b)]
                if norm:
                    layers.append(nn.BatchNorm1d(b))
                layers.append(nn.ReLU())
            return nn.Sequential(*layers)

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = make_layers([4, 8, 8, 2], norm=False)

            def forward(self, x):
                return self.body(x)

        net = Net()
        """,
        IMPORTS,
    )
    layers = [program.objects[i] for i in program.models[0].layers]
    assert [layer.cls.rpartition(".")[2] for layer in layers] == ["Linear", "ReLU"] * 3
    assert layers[0].args["in_features"].number == 4
    assert program.models[0].complete


def test_module_list_is_walked_item_by_item_in_forward() -> None:
    program = extract(
        """
        class Net(nn.Module):
            def __init__(self, depth=3):
                super().__init__()
                self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(depth)])

            def forward(self, x):
                for layer in self.layers:
                    x = torch.tanh(layer(x))
                return x
        """,
        IMPORTS,
    )
    model = program.models[0]
    assert chain(program, model.outputs[0]) == ["tanh", "linear"] * 3 + ["<input>"]


def test_modules_in_a_plain_list_are_noticed_and_module_lists_are_not() -> None:
    program = extract(
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = [nn.Linear(2, 2), nn.Linear(2, 2)]
                self.fine = nn.ModuleList([nn.Linear(2, 2)])
                self.sizes = [1, 2, 3]
        """,
        IMPORTS,
    )
    lists = program.models[0].plain_lists
    assert [(p.attribute, p.holds, len(p.layers), p.registered_later) for p in lists] == [
        ("hidden", "modules", 2, False)
    ]


def test_plain_list_wrapped_later_counts_as_registered() -> None:
    program = extract(
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = [nn.Linear(2, 2), nn.Linear(2, 2)]
                self.net = nn.Sequential(*self.blocks)
        """,
        IMPORTS,
    )
    assert [p.registered_later for p in program.models[0].plain_lists] == [True]


def test_apply_reaches_the_layers_its_isinstance_selects() -> None:
    program = extract(
        """
        def init_weights(m):
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)

        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 2))
        net.apply(init_weights)
        """,
        IMPORTS,
    )
    weight, bias = program.initialisations
    assert weight.name == "torch.nn.init.xavier_uniform_"
    assert weight.parameter == "weight"
    assert bias.parameter == "bias"
    assert [program.objects[i].cls for i in weight.layers] == ["torch.nn.Linear"] * 2


def test_class_name_guard_of_init_function_folds() -> None:
    program = extract(
        """
        def weights_init(m):
            name = m.__class__.__name__
            if name.find("Conv") != -1:
                m.weight.data.normal_(0.0, 0.02)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
        net.apply(weights_init)
        """,
        IMPORTS,
    )
    (call,) = program.initialisations
    assert [program.objects[i].cls for i in call.layers] == ["torch.nn.Conv2d"]
    assert call.args["std"].number == 0.02


def test_init_function_on_its_own_keeps_its_guards() -> None:
    program = extract(
        """
        def init(m):
            if isinstance(m, (nn.Linear, nn.Conv2d)):
                nn.init.normal_(m.weight)
        """,
        IMPORTS,
    )
    (call,) = program.initialisations
    assert call.classes == ("torch.nn.Linear", "torch.nn.Conv2d")
    assert call.layers == ()


def test_initialisation_in_a_loop_over_modules() -> None:
    program = extract(
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(3, 3)
                self.b = nn.Conv1d(3, 3, 1)
                for m in self.modules():
                    if isinstance(m, nn.Conv1d):
                        nn.init.kaiming_normal_(m.weight, mode="fan_out")
        net = Net()
        """,
        IMPORTS,
    )
    (call,) = program.initialisations
    assert [program.objects[i].cls for i in call.layers] == ["torch.nn.Conv1d"]
    assert call.args["mode"].constant == "fan_out"


def test_loss_input_reaches_through_the_model_to_its_last_operation() -> None:
    program = extract(
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(4, 3)
                self.softmax = nn.Softmax(dim=1)

            def forward(self, x):
                return self.softmax(self.fc(x)), x

        net = Net()
        criterion = nn.CrossEntropyLoss()
        for x, y in torch.utils.data.DataLoader(data):
            scores, _ = net(x)
            criterion(scores, y).backward()
        """,
        IMPORTS,
    )
    (loss,) = program.losses
    assert loss.name == "cross_entropy"
    assert chain(program, loss.input) == ["softmax", "linear", "<batch>", "<batch>"]
    target = program.flows[loss.target or 0]
    assert (target.op, target.index) == ("<batch>", 1)


def test_recurrent_output_is_told_from_its_state() -> None:
    program = extract(
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn = nn.LSTM(8, 16, batch_first=True)
                self.out = nn.Linear(16, 4)

            def forward(self, x):
                output, (hidden, cell) = self.rnn(x)
                return self.out(output[:, -1]), hidden
        """,
        IMPORTS,
    )
    first, second = program.models[0].outputs
    assert chain(program, first) == ["linear", "getitem", "lstm", "<input>"]
    assert chain(program, second)[0] == "lstm_state"


def test_optimizer_knows_whose_parameters_it_has() -> None:
    program = extract(
        """
        import itertools
        a, b = nn.Linear(1, 1), nn.Linear(1, 1)
        both = torch.optim.Adam(itertools.chain(a.parameters(), b.parameters()))
        groups = torch.optim.SGD([{"params": a.parameters()}, {"params": b.parameters()}], lr=0.1)
        some = torch.optim.SGD(filter(lambda p: p.requires_grad, b.parameters()), lr=0.1)
        elsewhere = torch.optim.SGD(find_parameters(), lr=0.1)
        """,
        IMPORTS,
    )
    a, b = (o.id for o in objects(program, ObjectKind.LAYER))
    owners = [o.parameters_of for o in objects(program, ObjectKind.OPTIMIZER)]
    assert owners == [(a, b), (a, b), (b,), None]


def test_base_class_out_of_sight_makes_the_model_incomplete() -> None:
    program = extract(
        """
        from elsewhere import Base
        class Net(Base, nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(1, 1)
        """,
        IMPORTS,
    )
    assert [m.complete for m in program.models] == [False]


def test_layers_of_a_sequential_built_in_a_branch_keep_their_order() -> None:
    program = extract(
        """
        import torch, sys
        from torch import nn
        if len(sys.argv) > 1:
            model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1), nn.Sigmoid())
            prediction = model(torch.rand(3, 4))
        """
    )
    sequential = next(o for o in program.objects if o.cls == "torch.nn.Sequential")
    classes = [program.objects[n].cls.rpartition(".")[2] for n in sequential.children.values()]
    assert classes == ["Linear", "ReLU", "Linear", "Sigmoid"]


def test_layers_of_a_sequential_kept_across_a_branch_keep_their_order() -> None:
    program = extract(
        """
        import torch, sys
        from torch import nn
        class Net(nn.Module):
            def __init__(self, deep):
                super().__init__()
                if deep:
                    self.head = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
            def forward(self, x):
                return self.head(x)
        model = Net(len(sys.argv) > 1)
        prediction = model(torch.rand(3, 4))
        """
    )
    (model,) = [m for m in program.models if m.cls.endswith("Net")]
    assert [program.flows[n].op for n in model.outputs] == ["sigmoid"]


def test_class_method_makes_an_instance_of_its_class() -> None:
    program = extract(
        """
        class Net(nn.Module):
            def __init__(self, width):
                super().__init__()
                self.fc = nn.Linear(width, 2)

            @classmethod
            def small(cls):
                return cls(4)

        net = Net.small()
        """,
        IMPORTS,
    )
    (layer,) = objects(program, ObjectKind.LAYER)
    assert layer.args["in_features"].number == 4


def test_an_optimizer_over_the_groups_of_another_holds_the_same_parameters() -> None:
    program = extract(
        """
        class Wrapped(torch.optim.Optimizer):
            def __init__(self, params, base, **kwargs):
                super().__init__(params, kwargs)
                self.base = base(self.param_groups, **kwargs)

        model = nn.Linear(4, 2)
        optimizer = Wrapped(model.parameters(), torch.optim.SGD, lr=0.1)
        """,
        IMPORTS,
    )
    (layer,) = objects(program, ObjectKind.LAYER)
    assert [o.parameters_of for o in objects(program, ObjectKind.OPTIMIZER)] == [(layer.id,)] * 2


def test_layers_gathered_by_a_function_are_all_there() -> None:
    program = extract(
        """
        def mlp(sizes):
            layers = []
            for a, b in zip(sizes, sizes[1:]):
                layers += [nn.Linear(a, b), nn.Tanh()]
            return nn.Sequential(*layers[:-1])

        parts = []
        for _ in range(3):
            parts.append(nn.Linear(8, 8))
        model = nn.Sequential(mlp([4, 8, 8, 8]), *parts)
        """,
        IMPORTS,
    )
    model = next(m for m in program.models if len(m.layers) > 3)
    names = [program.objects[i].cls.rpartition(".")[2] for i in model.layers]
    assert names == ["Linear", "Tanh", "Linear", "Tanh", "Linear", "Linear", "Linear", "Linear"]


def test_loop_that_gathers_losses_is_not_unrolled() -> None:
    program = extract(
        """
        model = nn.Linear(2, 2)
        history = []
        for epoch in range(5):
            loss = model(torch.ones(1, 2)).sum()
            loss.backward()
            history.append(loss.item())
        """,
        IMPORTS,
    )
    assert [entry.body[0].kind for entry in program.entries] == ["for"]  # type: ignore[union-attr]
