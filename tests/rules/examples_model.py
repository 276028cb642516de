"""Models, their initialisation and their losses in the styles of real scripts: one fault each, and what
only looks like one."""

import textwrap

HEAD = """\
import argparse
import math
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torch import optim
from torch.nn import init
from torch.utils.data import DataLoader, TensorDataset

loader = DataLoader(TensorDataset(torch.randn(256, 20), torch.randint(0, 4, (256,))), batch_size=32, shuffle=True)
"""

LAYERS = """\
class MLP(nn.Module):
    def __init__(self, sizes, activation=nn.ReLU):
        super().__init__()
        layers = []
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:]):
            layers += [nn.Linear(fan_in, fan_out), activation()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x):
        return self.layers(x)

"""


AVERAGE = """
class Average(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.average = nn.AvgPool1d(width, stride=1)

    def forward(self, x):
        return self.average(x)

"""


def network(parts: str, forward: str, more: str = "") -> str:
    """A module with these parts, this forward and these further methods, and its training."""
    return "\n".join(
        (
            "class Net(nn.Module):",
            "    def __init__(self):",
            "        super().__init__()",
            textwrap.indent(textwrap.dedent(parts).strip(), "        "),
            "",
            "    def forward(self, x):",
            textwrap.indent(textwrap.dedent(forward).strip(), "        "),
            "",
            textwrap.indent(textwrap.dedent(more).strip(), "    "),
            trained("Net()"),
        )
    )


def trained(model: str, loss: str = "F.cross_entropy(model(x), y)") -> str:
    """The training of this model with this loss, as a function."""
    return f"""
def train(model, batches):
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for x, y in batches:
        optimizer.zero_grad()
        loss = {loss}
        loss.backward()
        optimizer.step()

train({model}, loader)
"""


def initialised(call: str, model: str) -> str:
    """The training of this model after a function applied to it has initialised its layers."""
    return f"""
def weights_init(m):
    if isinstance(m, (nn.Linear, nn.Conv2d)):
        {call}

net = {model}
net.apply(weights_init)
{trained("net")}"""


SICK = {
    ("xavier-before-relu", "applied to layers from a list of widths"): LAYERS
    + initialised("init.xavier_normal_(m.weight)", "MLP([20, 64, 64, 64, 64, 4])"),
    ("kaiming-before-saturating", "applied to layers from a list of widths"): LAYERS
    + initialised("init.kaiming_uniform_(m.weight)", "MLP([20, 64, 64, 4], nn.Tanh)"),
    ("deep-plain-default-init", "layers from a list of widths"): LAYERS
    + trained("MLP([20] + [64] * 9 + [4])"),
    ("shared-init-tensor", "one tensor for every hidden layer"): network(
        """
        self.layers = nn.ModuleList([nn.Linear(20, 20) for _ in range(3)])
        start = nn.Parameter(torch.eye(20))
        for layer in self.layers:
            layer.weight = start
        """,
        "for layer in self.layers:\n    x = torch.tanh(layer(x))\nreturn x",
    ),
    ("stacked-activations", "in a forward"): network(
        "self.a, self.b = nn.Linear(20, 16), nn.Linear(16, 4)",
        "x = torch.tanh(F.relu(self.a(x)))\nreturn self.b(x)",
    ),
    ("bn-batch-one", "a default of the command line"): """
        parser = argparse.ArgumentParser()
        parser.add_argument("--batch-size", type=int, default=1)
        args = parser.parse_args()
        data = TensorDataset(torch.randn(256, 20), torch.randint(0, 4, (256,)))
        train_loader = DataLoader(data, batch_size=args.batch_size, shuffle=True)
        model = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("softmax-no-dim", "in a forward"): network(
        "self.a, self.b = nn.Linear(20, 16), nn.Linear(16, 4)",
        "weights = F.softmax(self.a(x))\nreturn self.b(weights * x[:, :16])",
    ),
    ("softmax-batch-dim", "the last line of a forward"): """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(20, 16), nn.Linear(16, 4)

            def forward(self, x):
                return F.log_softmax(self.b(F.relu(self.a(x))), dim=0)
        """
    + textwrap.indent(trained("Net()", "F.nll_loss(model(x), y)"), " " * 8),
    ("relu-output", "the last line of a forward"): network(
        "self.a, self.b = nn.Linear(20, 16), nn.Linear(16, 4)",
        "x = F.relu(self.a(x))\nreturn F.relu(self.b(x))",
    ),
    ("deep-plain-network", "convolutions appended in a loop"): network(
        """
        self.convs = nn.ModuleList()
        for i in range(24):
            self.convs.append(nn.Conv2d(3 if i == 0 else 16, 16, 3, padding=1))
        self.out = nn.Linear(16, 4)
        """,
        "for conv in self.convs:\n    x = F.relu(conv(x))\nreturn self.out(x.mean((2, 3)))",
    ),
}

HEALTHY = {
    ("constant-weight-init", "the last layer of a residual branch"): network(
        """
        self.a, self.branch, self.proj_out = nn.Linear(20, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.out = nn.Linear(16, 4)
        nn.init.zeros_(self.proj_out.weight)
        """,
        "x = F.relu(self.a(x))\nx = x + self.proj_out(F.relu(self.branch(x)))\nreturn self.out(x)",
    ),
    ("constant-weight-init", "normalisation and biases"): initialised(
        "init.constant_(m.bias, 0)",
        "nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))",
    )
    + "for m in net.modules():\n    if isinstance(m, nn.BatchNorm1d):\n        init.ones_(m.weight)\n",
    ("constant-weight-init", "the second factor of a product"): network(
        """
        self.base, self.lora_A, self.lora_B = nn.Linear(20, 16), nn.Linear(20, 4), nn.Linear(4, 16)
        self.out = nn.Linear(16, 4)
        nn.init.zeros_(self.lora_B.weight)
        """,
        "return self.out(F.relu(self.base(x) + self.lora_B(self.lora_A(x))))",
    ),
    ("xavier-before-relu", "with its gain"): LAYERS
    + initialised(
        "init.xavier_normal_(m.weight, gain=init.calculate_gain('relu'))",
        "MLP([20, 64, 64, 64, 64, 4])",
    ),
    ("xavier-before-relu", "normalised"): initialised(
        "init.xavier_normal_(m.weight)",
        "nn.Sequential("
        + "nn.Linear(20, 20), nn.LayerNorm(20), nn.ReLU(), " * 4
        + "nn.Linear(20, 4))",
    ),
    ("kaiming-before-saturating", "for ReLU, with a sigmoid gate"): network(
        """
        self.a, self.gate, self.out = nn.Linear(20, 16), nn.Linear(20, 16), nn.Linear(16, 4)
        for layer in (self.a, self.gate):
            nn.init.kaiming_normal_(layer.weight)
        """,
        "return self.out(F.relu(self.a(x)) * torch.sigmoid(self.gate(x)))",
    ),
    ("kaiming-slope-ignored", "the slope of the layers"): initialised(
        "init.kaiming_normal_(m.weight, a=0.2, nonlinearity='leaky_relu')",
        "nn.Sequential(nn.Linear(20, 64), nn.LeakyReLU(0.2), nn.Linear(64, 4))",
    ),
    ("normal-init-too-wide", "the width of GPT-2"): initialised(
        "init.normal_(m.weight, mean=0.0, std=0.02)",
        "nn.Sequential(nn.Linear(768, 3072), nn.GELU(), nn.Linear(3072, 768))",
    ),
    ("normal-init-too-wide", "an embedding"): network(
        "self.token = nn.Embedding(100, 16)\nself.out = nn.Linear(16, 4)\nnn.init.normal_(self.token.weight)",
        "return self.out(self.token(x))",
    ),
    ("normal-init-too-wide", "scaled by the inputs"): initialised(
        "init.normal_(m.weight, std=math.sqrt(2 / m.in_features))",
        "nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))",
    ),
    ("uniform-init-nonneg", "a learned scale and bias"): network(
        """
        self.a = nn.Linear(20, 4)
        self.scale = nn.Parameter(torch.empty(4))
        nn.init.uniform_(self.scale, 0.5, 1.5)
        nn.init.uniform_(self.a.bias)
        """,
        "return self.a(x) * self.scale",
    ),
    ("uninitialised-parameter", "in reset_parameters"): network(
        "self.w = nn.Parameter(torch.empty(20, 4))\nself.reset_parameters()",
        "return x @ self.w",
        "def reset_parameters(self):\n    nn.init.kaiming_uniform_(self.w, a=math.sqrt(5))",
    ),
    ("unscaled-randn-parameter", "divided by the root of the inputs"): network(
        "self.w = nn.Parameter(torch.randn(20, 4) / math.sqrt(20))", "return x @ self.w"
    ),
    ("unscaled-randn-parameter", "a learned adjacency"): network(
        """
        self.a, self.b = nn.Parameter(torch.randn(20, 16)), nn.Parameter(torch.randn(16, 20))
        self.out = nn.Linear(20, 4)
        """,
        "adjacency = F.softmax(F.relu(torch.mm(self.a, self.b)), dim=1)\n"
        "return self.out(x @ adjacency)",
    ),
    ("reinit-after-load", "only the new head"): """
        def weights_init(m):
            if isinstance(m, nn.Linear):
                init.xavier_uniform_(m.weight)

        model = torchvision.models.resnet18(weights="DEFAULT")
        model.fc = nn.Linear(512, 4)
        model.fc.apply(weights_init)
    """,
    ("deep-plain-default-init", "initialised"): LAYERS
    + initialised("init.kaiming_normal_(m.weight)", "MLP([20] + [64] * 9 + [4])"),
    ("deep-plain-default-init", "normalised"): trained(
        "nn.Sequential("
        + "nn.Linear(20, 20), nn.BatchNorm1d(20), nn.ReLU(), " * 9
        + "nn.Linear(20, 4))"
    ),
    ("deep-plain-default-init", "residual"): network(
        "self.layers = nn.ModuleList([nn.Linear(20, 20) for _ in range(10)])\nself.out = nn.Linear(20, 4)",
        "for layer in self.layers:\n    x = x + F.relu(layer(x))\nreturn self.out(x)",
    ),
    ("deep-saturating-stack", "normalised"): trained(
        "nn.Sequential("
        + "nn.Linear(20, 20), nn.LayerNorm(20), nn.Tanh(), " * 5
        + "nn.Linear(20, 4))"
    ),
    ("deep-saturating-stack", "the gates of a cell"): network(
        """
        self.i, self.f, self.o, self.g = (nn.Linear(20, 20) for _ in range(4))
        self.out = nn.Linear(20, 4)
        """,
        """
        i, f = torch.sigmoid(self.i(x)), torch.sigmoid(self.f(x))
        o, g = torch.sigmoid(self.o(x)), torch.tanh(self.g(x))
        return self.out(o * torch.tanh(f * x + i * g))
        """,
    ),
    ("shared-init-tensor", "input and output words tied"): network(
        """
        self.embed, self.out = nn.Embedding(100, 20), nn.Linear(20, 100)
        self.out.weight = self.embed.weight
        """,
        "return self.out(self.embed(x))",
    ),
    ("selu-without-lecun", "one hidden layer"): trained(
        "nn.Sequential(nn.Linear(20, 64), nn.SELU(), nn.Linear(64, 4))"
    ),
    ("gain-for-other-activation", "an activation that is handed in"): network(
        """
        self.a, self.b = nn.Linear(20, 16), nn.Linear(16, 4)
        self.act = ACTIVATIONS[NAME]
        nn.init.xavier_uniform_(self.a.weight, gain=nn.init.calculate_gain("tanh"))
        """,
        "return self.b(self.act(self.a(x)))",
    ),
    ("dropout-before-batchnorm", "a little of each map"): trained(
        "nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout2d(0.05), nn.BatchNorm2d(8), nn.ReLU(), "
        "nn.Flatten(), nn.Linear(7200, 4))"
    ),
    ("stacked-linear", "one activation in several places"): network(
        """
        act = nn.ReLU()
        self.layers = nn.Sequential(
            nn.Linear(20, 16), act, nn.Linear(16, 16), act, nn.Linear(16, 4)
        )
        """,
        "return self.layers(x)",
    ),
    ("stacked-linear", "a bottleneck of low rank"): network(
        "self.down, self.up, self.out = nn.Linear(256, 8), nn.Linear(8, 256), nn.Linear(256, 4)",
        "return self.out(F.relu(self.up(self.down(x))))",
    ),
    ("stacked-activations", "attention scores"): network(
        "self.score, self.out = nn.Linear(20, 1), nn.Linear(20, 4)",
        "weights = torch.softmax(torch.tanh(self.score(x)), dim=1)\nreturn self.out(weights * x)",
    ),
    ("stacked-activations", "a gate"): network(
        "self.weigh, self.out = nn.Linear(20, 20), nn.Linear(20, 4)",
        "return self.out(x * torch.sigmoid(F.silu(self.weigh(x))))",
    ),
    ("bn-momentum-convention", "the running mean of all batches"): trained(
        "nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1d(8, momentum=None), nn.ReLU(), nn.Linear(8, 4))"
    ),
    ("bn-batch-one", "translation from image to image"): """
        generator = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1), nn.Tanh())
        critic = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 3))
        opt_g = optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        opt_d = optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
        pairs = DataLoader(dataset, batch_size=1, shuffle=True)
        for a, b in pairs:
            fake = generator(a)
            opt_d.zero_grad()
            (F.mse_loss(critic(b), torch.ones(1, 1, 1, 1)) + critic(fake.detach()).pow(2).mean()).backward()
            opt_d.step()
            opt_g.zero_grad()
            ((critic(fake) - 1).pow(2).mean() + 100 * F.l1_loss(fake, b)).backward()
            opt_g.step()
    """,
    ("modules-in-plain-list", "wrapped afterwards"): network(
        """
        layers = []
        for _ in range(3):
            layers.append(nn.Linear(20, 20))
        self.layers = nn.Sequential(*layers)
        """,
        "return self.layers(x)",
    ),
    ("modules-in-plain-list", "registered by name"): network(
        """
        self.layers = [nn.Linear(20, 20) for _ in range(3)]
        for i, layer in enumerate(self.layers):
            self.add_module(f"layer{i}", layer)
        """,
        "for layer in self.layers:\n    x = layer(x)\nreturn x",
    ),
    ("modules-in-plain-list", "a teacher kept out on purpose"): network(
        "self._teacher = [nn.Linear(20, 4)]\nself.out = nn.Linear(20, 4)",
        "with torch.no_grad():\n    t = self._teacher[0](x)\nreturn self.out(x) - t",
    ),
    ("modules-in-plain-list", "modules without parameters"): AVERAGE
    + network(
        """
        self.averages = [Average(width) for width in (3, 5)]
        self.out = nn.Linear(20, 4)
        """,
        "return self.out(sum(average(x) for average in self.averages))",
    ),
    ("functional-dropout-always-on", "guarded"): network(
        "self.out = nn.Linear(20, 4)",
        "if self.training:\n    x = F.dropout(x, 0.2)\nreturn self.out(x)",
    ),
    ("dropout-module-in-forward", "guarded"): network(
        "self.out = nn.Linear(20, 4)",
        "if self.training:\n    x = nn.Dropout(0.2)(x)\nreturn self.out(x)",
    ),
    ("softmax-no-dim", "named"): network(
        "self.a, self.b = nn.Linear(20, 16), nn.Linear(16, 4)",
        "weights = F.softmax(self.a(x), dim=-1)\nreturn self.b(weights * x[:, :16])",
    ),
    ("softmax-batch-dim", "attention over a set"): network(
        "self.score, self.out = nn.Linear(20, 1), nn.Linear(20, 4)",
        "weights = torch.softmax(self.score(x), dim=0)\nreturn self.out(weights * x)",
    ),
    ("relu-output", "a count"): trained(
        "nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 1), nn.ReLU())",
        "F.poisson_nll_loss(model(x), y, log_input=False)",
    ),
    ("rnn-batch-first-mixup", "transposed for it"): network(
        "self.rnn, self.out = nn.LSTM(20, 16), nn.Linear(16, 4)",
        "h, _ = self.rnn(x.transpose(0, 1))\nreturn self.out(h[-1])",
    ),
    ("unused-layer", "reached by children"): network(
        "self.a, self.b = nn.Linear(20, 20), nn.Linear(20, 4)",
        "for layer in self.children():\n    x = layer(x)\nreturn x",
    ),
    ("extreme-dropout", "half"): trained(
        "nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 4))"
    ),
    ("softmax-into-cross-entropy", "only to predict"): network(
        "self.a, self.b = nn.Linear(20, 16), nn.Linear(16, 4)",
        "x = self.b(F.relu(self.a(x)))\nif not self.training:\n    x = F.softmax(x, dim=1)\nreturn x",
    ),
    ("softmax-into-cross-entropy", "a method for predictions"): network(
        "self.a, self.b = nn.Linear(20, 16), nn.Linear(16, 4)",
        "return self.b(F.relu(self.a(x)))",
        "def predict(self, x):\n    return torch.softmax(self(x), dim=1)",
    ),
    ("softmax-into-cross-entropy", "the logarithm of it, negative log likelihood"): """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.out = nn.Linear(20, 4)

            def forward(self, x):
                return torch.log(F.softmax(self.out(x), dim=1))
        """
    + textwrap.indent(trained("Net()", "F.nll_loss(model(x), y)"), " " * 8),
    ("softmax-into-cross-entropy", "attention before the head"): network(
        "self.q, self.k, self.out = nn.Linear(20, 8), nn.Linear(20, 8), nn.Linear(20, 4)",
        "w = F.softmax(self.q(x) @ self.k(x).transpose(-1, -2), dim=-1)\nreturn self.out(w @ x)",
    ),
    ("sigmoid-into-bce-logits", "only to count"): trained(
        "nn.Linear(20, 1)",
        "F.binary_cross_entropy_with_logits(model(x).squeeze(1), y.float()); "
        "hits = (torch.sigmoid(model(x)) > 0.5).sum()",
    ),
    ("sigmoid-into-bce-logits", "a gate before the head"): network(
        "self.gate, self.out = nn.Linear(20, 20), nn.Linear(20, 1)",
        "return self.out(x * torch.sigmoid(self.gate(x)))",
    ).replace("F.cross_entropy(model(x), y)", "nn.BCEWithLogitsLoss()(model(x)[:, 0], y.float())"),
    ("nll-needs-log-probs", "the logarithm taken by the loop"): trained(
        "nn.Sequential(nn.Linear(20, 4), nn.Softmax(dim=1))", "F.nll_loss(torch.log(model(x)), y)"
    ),
    ("mse-shape-broadcast", "the target made a column"): trained(
        "nn.Linear(20, 1)", "F.mse_loss(model(x), y.float().view(-1, 1))"
    ),
    ("mse-shape-broadcast", "the prediction made a row"): """
        class Regressor(nn.Module):
            def __init__(self):
                super().__init__()
                self.out = nn.Linear(20, 1)

            def forward(self, x):
                return self.out(x).squeeze(-1)
        """
    + textwrap.indent(trained("Regressor()", "F.mse_loss(model(x), y.float())"), " " * 8),
    ("mse-shape-broadcast", "a target that is a column already"): """
        table = torch.randn(256, 21)
        batches = DataLoader(TensorDataset(table[:, :20], table[:, 20:]), batch_size=32, shuffle=True)
        model = nn.Linear(20, 1)
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        for x, y in batches:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
    """,
    ("bce-on-logits", "the sigmoid in the loop"): trained(
        "nn.Linear(20, 1)", "F.binary_cross_entropy(torch.sigmoid(model(x)).squeeze(1), y.float())"
    ),
    ("kl-reduction-mean", "summed over classes by hand"): trained(
        "nn.Linear(20, 4)",
        "F.kl_div(F.log_softmax(model(x), 1), F.softmax(x[:, :4], 1), reduction='none').sum(-1).mean()",
    ),
    ("nondifferentiable-in-loss", "the straight-through estimator"): trained(
        "nn.Linear(20, 4)",
        "(model(x) + (model(x).round() - model(x)).detach()).pow(2).mean()",
    ),
    ("nondifferentiable-in-loss", "on the side of the target"): trained(
        "nn.Linear(20, 4)", "F.cross_entropy(model(x), x[:, :4].argmax(dim=1))"
    ),
    ("graph-cut-in-forward", "one branch only"): network(
        "self.a, self.out = nn.Linear(20, 20), nn.Linear(20, 4)",
        "h = self.a(x)\nreturn self.out(h + (h.round() - h).detach())",
    ),
    ("padding-in-loss", "the padding ignored"): """
        class Tagger(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed, self.out = nn.Embedding(100, 16, padding_idx=0), nn.Linear(16, 5)

            def forward(self, x):
                return self.out(self.embed(x))

        def collate(batch):
            words, tags = zip(*batch)
            pad = nn.utils.rnn.pad_sequence
            return pad(words, batch_first=True), pad(tags, batch_first=True, padding_value=-100)

        model = Tagger()
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        for x, y in DataLoader(sentences, batch_size=8, shuffle=True, collate_fn=collate):
            optimizer.zero_grad()
            F.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
            optimizer.step()
    """,
    ("mse-on-softmax", "distillation"): trained(
        "nn.Linear(20, 4)", "F.mse_loss(F.softmax(model(x), 1), F.softmax(teacher(x), 1))"
    ),
    ("loss-overwritten", "added to"): trained(
        "nn.Linear(20, 4)", "F.cross_entropy(model(x), y)"
    ).replace(
        "        loss.backward()",
        "        loss = loss + model(x).pow(2).mean()\n        loss.backward()",
    ),
    ("swapped-loss-args", "a symmetric one"): trained(
        "nn.Linear(20, 1)", "F.mse_loss(y.float().unsqueeze(1), model(x))"
    ),
    ("redundant-log-softmax", "negative log likelihood"): network(
        "self.out = nn.Linear(20, 4)", "return F.log_softmax(self.out(x), dim=1)"
    ).replace("F.cross_entropy(model(x), y)", "F.nll_loss(model(x), y)"),
    ("one-logit-cross-entropy", "two classes"): trained("nn.Linear(20, 2)"),
    ("detached-loss", "a leaf that is optimised"): """
        image = torch.rand(1, 3, 32, 32)
        image.requires_grad_(True)
        optimizer = optim.Adam([image], lr=0.01)
        for step in range(100):
            optimizer.zero_grad()
            loss = image.pow(2).mean()
            loss.backward()
            optimizer.step()
    """,
    ("sum-reduction", "an autoencoder's bound"): """
        class VAE(nn.Module):
            def __init__(self):
                super().__init__()
                self.encode, self.decode = nn.Linear(20, 8), nn.Linear(4, 20)

            def forward(self, x):
                mu, logvar = self.encode(x).chunk(2, dim=-1)
                z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
                return self.decode(z), mu, logvar

        model = VAE()
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        for x, _ in loader:
            optimizer.zero_grad()
            out, mu, logvar = model(x)
            kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
            (F.mse_loss(out, x, reduction="sum") + kld).backward()
            optimizer.step()
    """,
    ("deep-plain-network", "residual"): network(
        "self.layers = nn.ModuleList([nn.Linear(20, 20) for _ in range(24)])\nself.out = nn.Linear(20, 4)",
        "for layer in self.layers:\n    x = x + F.relu(layer(x))\nreturn self.out(x)",
    ),
    ("constant-weight-init", "the gates of a conditioned block"): network(
        """
        self.a, self.adaLN_modulation, self.out = nn.Linear(20, 20), nn.Linear(20, 40), nn.Linear(20, 4)
        nn.init.zeros_(self.adaLN_modulation.weight)
        """,
        """
        shift, scale = self.adaLN_modulation(x).chunk(2, dim=-1)
        return self.out(F.silu(self.a(x) * (1 + scale) + shift))
        """,
    ),
    ("constant-weight-init", "a head that starts at zero"): network(
        "self.a, self.head = nn.Linear(20, 16), nn.Linear(16, 4)\nnn.init.zeros_(self.head.weight)",
        "return self.head(F.relu(self.a(x)))",
    ),
    ("xavier-before-relu", "two layers over a graph"): network(
        """
        self.a, self.b = nn.Linear(20, 16), nn.Linear(16, 4)
        for layer in (self.a, self.b):
            nn.init.xavier_uniform_(layer.weight)
        """,
        "return self.b(F.relu(self.a(x)))",
    ),
    ("uniform-init-nonneg", "the logarithm of a rate"): network(
        """
        self.out = nn.Linear(20, 4)
        self.log_decay = nn.Parameter(torch.empty(20))
        nn.init.uniform_(self.log_decay, 0.0, 2.0)
        """,
        "return self.out(x * torch.exp(-self.log_decay))",
    ),
    ("uninitialised-parameter", "a base class of another library"): """
        from library import Base

        class Net(Base):
            def __init__(self):
                super().__init__()
                self.w = nn.Parameter(torch.empty(20, 4))

            def forward(self, x):
                return x @ self.w

        optimizer = optim.SGD(Net().parameters(), lr=0.1)
    """,
    ("deep-saturating-stack", "a recurrent network and its output"): network(
        "self.rnn, self.out = nn.RNN(20, 16, num_layers=6), nn.Linear(16, 4)",
        "return torch.tanh(self.out(self.rnn(x)[0]))",
    ),
    ("stacked-linear", "a slot that may hold an activation"): trained(
        "nn.Sequential(nn.Linear(20, 64), nn.Identity(), nn.Linear(64, 4))"
    ),
    ("stacked-linear", "adapters of low rank"): network(
        "self.lora_A, self.lora_B, self.out = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 4)",
        "return self.out(F.relu(self.lora_B(self.lora_A(x))))",
    ),
    ("modules-in-plain-list", "set by name"): network(
        """
        self.blocks = [nn.Linear(20, 20) for _ in range(3)]
        for i, block in enumerate(self.blocks):
            setattr(self, f"block{i}", block)
        """,
        "for block in self.blocks:\n    x = block(x)\nreturn x",
    ),
    ("layer-created-in-forward", "a layer of the constructor"): network(
        "self.make = nn.Linear\nself.out = self.make(20, 4)", "return self.out(x)"
    ),
    ("functional-dropout-always-on", "the prenet of a speech synthesiser"): """
        class Prenet(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = nn.ModuleList([nn.Linear(80, 256), nn.Linear(256, 256)])

            def forward(self, x):
                for layer in self.layers:
                    x = F.dropout(F.relu(layer(x)), p=0.5)
                return x
    """,
    ("functional-dropout-always-on", "sampled on purpose"): network(
        "self.out = nn.Linear(20, 4)",
        "return self.out(x)",
        "def mc_forward(self, x):\n    return self.out(F.dropout(x, 0.2))",
    ),
    ("sdpa-dropout-always-on", "only while training"): network(
        "self.qkv, self.p = nn.Linear(20, 60), 0.1",
        """
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=self.p if self.training else 0.0)
        """,
    ),
    ("extreme-dropout", "a rate from a sweep"): """
        for p in (0.1, 0.5, 0.8):
            model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 4))
            run(model)
    """,
    ("unused-layer", "read from outside"): network(
        "self.a, self.probe = nn.Linear(20, 4), nn.Linear(20, 4)", "return self.a(x)"
    )
    + "def inspect(net, x):\n    return net.probe(x)\n\ninspect(Net(), torch.randn(1, 20))\n",
    ("unused-layer", "chosen by its name"): network(
        "self.small, self.large = nn.Linear(20, 4), nn.Linear(20, 4)",
        "return getattr(self, CHOICE)(x)",
    ),
    ("rnn-batch-first-mixup", "packed with time first"): network(
        "self.rnn, self.out = nn.GRU(20, 16), nn.Linear(16, 4)",
        """
        packed = nn.utils.rnn.pack_padded_sequence(x, [5] * 8, batch_first=False)
        _, h = self.rnn(packed)
        return self.out(h[-1])
        """,
    ),
    ("init-never-applied", "exported for others"): """
        __all__ = ["Net", "init_weights"]

        def init_weights(m):
            if isinstance(m, nn.Linear):
                nn.init.kaiming_normal_(m.weight)

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.out = nn.Linear(20, 4)

            def forward(self, x):
                return self.out(x)
    """,
    ("kl-reduction-mean", "multiplied by the classes"): trained(
        "nn.Linear(20, 4)",
        "F.kl_div(F.log_softmax(model(x), 1), F.softmax(x[:, :4], 1), reduction='mean') * x.size(1)",
    ),
    ("graph-cut-in-forward", "a codebook with its straight-through estimator"): network(
        "self.a, self.codes, self.out = nn.Linear(20, 8), nn.Embedding(32, 8), nn.Linear(8, 4)",
        """
        z = self.a(x)
        q = self.codes(torch.cdist(z.detach(), self.codes.weight.detach()).argmin(-1))
        return self.out(z + (q - z).detach())
        """,
    ),
    ("graph-cut-in-forward", "a target network"): network(
        "self.online, self.target = nn.Linear(20, 4), nn.Linear(20, 4)",
        "return self.online(x) - self.target(x).detach()",
    ),
    ("mse-on-softmax", "the Brier score"): trained(
        "nn.Linear(20, 4)", "brier_score(F.softmax(model(x), 1), F.one_hot(y, 4).float())"
    ),
    ("detached-loss", "a copy for the log"): trained("nn.Linear(20, 4)").replace(
        "        loss.backward()", "        loss.backward()\n        print(loss.detach())"
    ),
    ("deep-plain-network", "normalised"): trained(
        "nn.Sequential("
        + "nn.Linear(20, 20), nn.LayerNorm(20), nn.ReLU(), " * 12
        + "nn.Linear(20, 20), nn.BatchNorm1d(20), nn.ReLU(), " * 12
        + "nn.Linear(20, 4))"
    ),
    ("bn-batch-one", "statistics frozen"): """
        norm = nn.BatchNorm1d(64)
        model = nn.Sequential(nn.Linear(20, 64), norm, nn.ReLU(), nn.Linear(64, 4))
        data = TensorDataset(torch.randn(256, 20), torch.randint(0, 4, (256,)))
        train_loader = DataLoader(data, batch_size=1, shuffle=True)
        optimizer = optim.Adam(model.parameters(), lr=1e-4)
        model.train()
        norm.eval()
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("bn-momentum-convention", "Keras' number turned round"): trained(
        "nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1d(8, momentum=1 - 0.99), nn.ReLU(), nn.Linear(8, 4))"
    ),
    ("unused-layer", "kept in a dictionary of modules"): network(
        "self.heads = nn.ModuleDict({'a': nn.Linear(20, 4), 'b': nn.Linear(20, 4)})",
        "return self.heads[TASK](x)",
    ),
    ("sum-reduction", "divided by the batch"): trained(
        "nn.Linear(20, 4)", "F.cross_entropy(model(x), y, reduction='sum') / len(x)"
    ),
    ("padding-in-loss", "an index that is ignored"): """
        class Tagger(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed, self.out = nn.Embedding(100, 16, padding_idx=0), nn.Linear(16, 5)

            def forward(self, x):
                return self.out(self.embed(x))

        def collate(batch):
            words, tags = zip(*batch)
            pad = nn.utils.rnn.pad_sequence
            return pad(words, batch_first=True), pad(tags, batch_first=True)

        model = Tagger()
        criterion = nn.CrossEntropyLoss(ignore_index=0)
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        for x, y in DataLoader(sentences, batch_size=8, shuffle=True, collate_fn=collate):
            optimizer.zero_grad()
            criterion(model(x).flatten(0, 1), y.flatten()).backward()
            optimizer.step()
    """,
    ("nondifferentiable-in-loss", "the probability of what was drawn"): trained(
        "nn.Linear(20, 4)",
        "-(torch.distributions.Categorical(logits=model(x)).log_prob(model(x).argmax(1)) * reward).mean()",
    ),
    ("swapped-loss-args", "prediction first"): trained(
        "nn.Linear(20, 4)", "criterion(input=model(x), target=y)"
    ),
}
