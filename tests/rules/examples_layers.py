"""What keeps layers and their initialisation healthy, and the same scripts without it."""

from contrasts import Contrast, healthy, sick
from examples_model import HEAD as MODEL_HEAD
from examples_model import LAYERS, initialised, network, trained

HEAD = MODEL_HEAD

CHAIN = (
    "nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))"
)

CASES = [
    Contrast(
        "constant-weight-init",
        "a norm by its type",
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.GroupNorm(4, 16)
        )
        for m in self.modules():
            if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
                nn.init.constant_(m.weight, 1)
                nn.init.constant_(m.bias, 0)

    def forward(self, x):
        return self.layers(x).mean((2, 3))

net = Net()
""",
        ("(nn.BatchNorm2d, nn.GroupNorm)", "nn.Conv2d"),
    ),
    Contrast(
        "constant-weight-init",
        "a norm by its name",
        """
def init_weights(model):
    for name, p in model.named_parameters():
        if "bn" in name and name.endswith("weight"):
            nn.init.ones_(p)

net = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))
init_weights(net)
""",
    ),
    Contrast(
        "constant-weight-init",
        "lora_B",
        network(
            """
            self.base = nn.Linear(20, 16)
            self.lora_A = nn.Linear(20, 4, bias=False)
            self.lora_B = nn.Linear(4, 16, bias=False)
            self.out = nn.Linear(16, 4)
            nn.init.zeros_(self.lora_B.weight)
            """,
            "return self.out(F.relu(self.base(x) + 0.5 * self.lora_B(self.lora_A(x))))",
        ),
    ),
    Contrast(
        "constant-weight-init",
        "a zero module of diffusion models",
        """
def zero_module(module):
    for p in module.parameters():
        p.detach().zero_()
    return module

class ControlNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.hint = nn.Conv2d(3, 16, 3, padding=1)
        self.body = nn.Conv2d(16, 16, 3, padding=1)
        self.zero_conv = zero_module(nn.Conv2d(16, 16, 1))
        self.proj_out = nn.Conv2d(16, 16, 1)
        nn.init.zeros_(self.proj_out.weight)

    def forward(self, x):
        h = F.silu(self.hint(x))
        return h + self.zero_conv(h) + self.proj_out(F.silu(self.body(h)))

net = ControlNet()
""",
    ),
    Contrast(
        "constant-weight-init",
        "the modulation of a conditioned block",
        network(
            """
            self.body, self.out = nn.Linear(20, 20), nn.Linear(20, 4)
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(20, 40))
            nn.init.constant_(self.adaLN_modulation[-1].weight, 0)
            """,
            """
            shift, scale = self.adaLN_modulation(x).chunk(2, dim=1)
            return self.out(F.silu(self.body(x) * (1 + scale) + shift))
            """,
        ),
    ),
    Contrast(
        "xavier-before-relu",
        "an attention block",
        """
class Attention(nn.Module):
    def __init__(self, d=64):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(d, d) for _ in range(4))
        for layer in (self.q, self.k, self.v, self.out):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x):
        scores = (self.q(x) @ self.k(x).transpose(-2, -1)).softmax(-1)
        return F.relu(self.out(scores @ self.v(x)))

model = Attention()
""",
    ),
    Contrast(
        "xavier-before-relu",
        "an embedding",
        network(
            """
            self.token, self.out = nn.Embedding(100, 16), nn.Linear(16, 4)
            nn.init.xavier_uniform_(self.token.weight)
            """,
            "return self.out(F.relu(self.token(x)))",
        ),
    ),
    *(
        Contrast(
            "kaiming-before-saturating",
            f"{name} among the activations",
            initialised(
                "init.kaiming_normal_(m.weight)",
                f"nn.Sequential(nn.Linear(20, 64), nn.{name}(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4))",
            ),
            (f"nn.{name}()", "nn.Tanh()"),
        )
        for name in ("GELU", "SiLU", "ReLU")
    ),
    *(
        Contrast(
            "normal-init-too-wide",
            name,
            network(
                f"""
                self.body, self.out = nn.Linear(64, 64), nn.Linear(64, 4)
                self.{attribute} = nn.Parameter(torch.zeros({shape}))
                nn.init.normal_(self.{attribute})
                """,
                f"return self.out(F.relu(self.body(x + self.{attribute}{index})))",
            ),
        )
        for name, attribute, shape, index in (
            ("a class token", "cls_token", "1, 64", ""),
            ("position embeddings", "pos_embed", "1, 64", ""),
            ("latent vectors", "latents", "16, 64", "[0]"),
            ("prototypes", "prototypes", "10, 64", "[0]"),
        )
    ),
    Contrast(
        "normal-init-too-wide",
        "the factors of an adapter",
        network(
            """
            self.body, self.out = nn.Linear(64, 64), nn.Linear(64, 4)
            self.lora_A, self.lora_B = nn.Linear(64, 4), nn.Linear(4, 64)
            nn.init.normal_(self.lora_A.weight)
            """,
            "return self.out(F.relu(self.body(x) + self.lora_B(self.lora_A(x))))",
        ),
        ("nn.init.normal_(self.lora_A.weight)", "nn.init.normal_(self.body.weight)"),
    ),
    Contrast(
        "normal-init-too-wide",
        "few inputs",
        initialised("init.normal_(m.weight, std=0.5)", "nn.Sequential(nn.Linear(3, 2), nn.Tanh())"),
        ("nn.Linear(3, 2)", "nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 2)"),
    ),
    Contrast(
        "uniform-init-nonneg",
        "gates",
        network(
            """
            self.a, self.out = nn.Linear(20, 16), nn.Linear(16, 4)
            self.gate = nn.Parameter(torch.empty(16))
            nn.init.uniform_(self.gate, 0, 1)
            """,
            "return self.out(F.relu(self.a(x)) * self.gate)",
        ),
    ),
    Contrast(
        "uniform-init-nonneg",
        "biases",
        initialised("init.uniform_(m.bias, 0, 0.1)", CHAIN),
        ("m.bias", "m.weight"),
    ),
    Contrast(
        "uninitialised-parameter",
        "loaded in the same class",
        """
class Whitening(nn.Module):
    def __init__(self, path):
        super().__init__()
        self.mix = nn.Parameter(torch.empty(16, 16))
        self.load_state_dict(torch.load(path))

    def forward(self, x):
        return x @ self.mix

model = Whitening("whitening.pt")
""",
        ("self.load_state_dict(torch.load(path))", "self.path = path"),
    ),
    Contrast(
        "uninitialised-parameter",
        "on the meta device",
        """
class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.empty(16, 16, device="meta"))

    def forward(self, x):
        return x @ self.mix

model = Mixer()
""",
        (', device="meta"', ""),
    ),
    Contrast(
        "uninitialised-parameter",
        "written to its data",
        """
class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.empty(16, 16))
        self.shift = nn.Parameter(torch.empty(16))
        self.mix.data.uniform_(-0.1, 0.1)
        with torch.no_grad():
            self.shift.copy_(torch.zeros(16))

    def forward(self, x):
        return x @ self.mix + self.shift

model = Mixer()
""",
        ("self.mix.data.uniform_(-0.1, 0.1)", "self.width = 16"),
    ),
    *(
        Contrast(
            "unscaled-randn-parameter",
            name,
            network(
                f"self.weight_in = nn.Parameter({start})\nself.out = nn.Linear(64, 4)",
                "return self.out(F.relu(x @ self.weight_in))",
            ),
            (start, "torch.randn(20, 64)"),
        )
        for name, start in (
            ("times a scale", "0.02 * torch.randn(20, 64)"),
            ("divided by a root", "torch.randn(20, 64) / math.sqrt(20)"),
            ("times an inverse root", "torch.randn(20, 64) * 20 ** -0.5"),
        )
    ),
    *(
        Contrast(
            "unscaled-randn-parameter",
            name,
            network(
                f"self.{attribute} = nn.Parameter(torch.randn({shape}))\nself.out = nn.Linear(64, 4)",
                f"return self.out(F.relu(x @ self.{attribute}))",
            ),
        )
        for name, attribute, shape in (
            ("one row", "start", "1, 64"),
            ("a table of positions", "pos_embedding", "20, 64"),
            ("queries", "query_tokens", "20, 64"),
            ("latents", "latents", "20, 64"),
            ("an embedding", "emb_in", "20, 64"),
            ("a codebook", "codebook", "20, 64"),
        )
    ),
    Contrast(
        "unscaled-randn-parameter",
        "normalised before its use",
        network(
            "self.weight_in = nn.Parameter(torch.randn(20, 64))\nself.out = nn.Linear(64, 4)",
            "return self.out(F.relu(x @ F.normalize(self.weight_in, dim=0)))",
        ),
        ("F.normalize(self.weight_in, dim=0)", "self.weight_in"),
    ),
    Contrast(
        "reinit-after-load",
        "loaded afterwards",
        """
def init_weights(m):
    if isinstance(m, nn.Linear):
        init.xavier_uniform_(m.weight)

model = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 4))
model.apply(init_weights)
model.load_state_dict(torch.load("model.pt"))
""",
        (
            'model.apply(init_weights)\nmodel.load_state_dict(torch.load("model.pt"))',
            'model.load_state_dict(torch.load("model.pt"))\nmodel.apply(init_weights)',
        ),
    ),
    Contrast(
        "deep-plain-default-init",
        "seven layers",
        LAYERS + trained("MLP([20] + [64] * 6 + [4])"),
        ("[64] * 6", "[64] * 9"),
    ),
    Contrast(
        "deep-saturating-stack",
        "attention scores",
        network(
            """
            self.scores = nn.ModuleList([nn.Linear(20, 20) for _ in range(5)])
            self.out = nn.Linear(20, 4)
            """,
            """
            for layer in self.scores:
                x = x + torch.tanh(layer(x)).softmax(-1) * x
            return self.out(x)
            """,
        ),
    ),
    Contrast(
        "deep-saturating-stack",
        "only the output saturates",
        """
model = nn.Sequential(
    nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
    nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4), nn.Sigmoid(),
)
optimizer = optim.Adam(model.parameters(), lr=1e-3)
for x, y in loader:
    optimizer.zero_grad()
    F.binary_cross_entropy(model(x), F.one_hot(y, 4).float()).backward()
    optimizer.step()
""",
        ("nn.ReLU()", "nn.Sigmoid()"),
    ),
    Contrast(
        "shared-init-tensor",
        "the name says that they are tied",
        network(
            """
            self.tied = nn.ModuleList([nn.Linear(20, 20) for _ in range(3)])
            tied_weight = nn.Parameter(0.1 * torch.randn(20, 20))
            for layer in self.tied:
                layer.weight = tied_weight
            """,
            "for layer in self.tied:\n    x = torch.tanh(layer(x))\nreturn x",
        ),
    ),
    Contrast(
        "bias-before-norm",
        "layer and group norms keep the mean of a unit",
        network(
            """
            self.body = nn.Sequential(nn.Linear(20, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 4))
            """,
            "return self.body(x)",
        ),
        ("nn.LayerNorm(16)", "nn.BatchNorm1d(16)"),
    ),
    Contrast(
        "stacked-linear",
        "a projection last",
        network(
            """
            self.body, self.mix, self.proj = nn.Linear(20, 64), nn.Linear(64, 64), nn.Linear(64, 4)
            """,
            "return self.proj(self.mix(F.relu(self.body(x))))",
        ),
        ("proj", "classify"),
    ),
    Contrast(
        "bn-momentum-convention",
        "calibration",
        """
def recalibrate_bn(model, batches):
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d):
            m.reset_running_stats()
            m.momentum = None
    with torch.no_grad():
        for x, _ in batches:
            model(x)

net = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64, momentum=0.1), nn.ReLU(), nn.Linear(64, 4))
recalibrate_bn(net, loader)
""",
        ("momentum=0.1", "momentum=0.99"),
    ),
    Contrast(
        "bn-momentum-convention",
        "a batch that is all of the data",
        """
x, y = torch.randn(64, 20), torch.randint(0, 4, (64,))
net = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64, momentum=1.0), nn.ReLU(), nn.Linear(64, 4))
optimizer = optim.Adam(net.parameters(), lr=1e-3)
for step in range(200):
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
""",
    ),
    *(
        Contrast(
            "modules-in-plain-list",
            name,
            network(
                f"""
                self.{attribute} = [nn.Linear(20, 20) for _ in range(3)]
                self.out = nn.Linear(20, 4)
                """,
                f"for layer in self.{attribute}:\n    x = F.relu(layer(x))\nreturn self.out(x)",
            ),
            (attribute, "layers"),
        )
        for name, attribute in (
            ("hidden on purpose", "_hidden"),
            ("frozen by its name", "frozen_blocks"),
        )
    ),
    Contrast(
        "modules-in-plain-list",
        "each registered as a module",
        network(
            """
            self.layers = []
            for i in range(3):
                layer = nn.Linear(20, 20)
                self.register_module(f"layer{i}", layer)
                self.layers.append(layer)
            self.out = nn.Linear(20, 4)
            """,
            "for layer in self.layers:\n    x = F.relu(layer(x))\nreturn self.out(x)",
        ),
        ('self.register_module(f"layer{i}", layer)', "layer.number = i"),
    ),
    Contrast(
        "modules-in-plain-list",
        "parameters in a list of their own",
        network(
            """
            self.scales = nn.ParameterList([nn.Parameter(torch.ones(20)) for _ in range(3)])
            self.out = nn.Linear(20, 4)
            """,
            "for scale in self.scales:\n    x = torch.tanh(x * scale)\nreturn self.out(x)",
        ),
        (
            "nn.ParameterList([nn.Parameter(torch.ones(20)) for _ in range(3)])",
            "[nn.Parameter(torch.ones(20)) for _ in range(3)]",
        ),
    ),
    Contrast(
        "extreme-dropout",
        "dropout of words",
        network(
            """
            self.words = nn.Embedding(100, 16)
            self.word_dropout = nn.Dropout(0.75)
            self.out = nn.Linear(16, 4)
            """,
            "return self.out(self.word_dropout(self.words(x)))",
        ),
        ("word_dropout", "dropout"),
    ),
    Contrast(
        "unused-layer",
        "reached by modules",
        network(
            """
            self.first = nn.Linear(20, 20)
            self.spare = nn.Linear(20, 20)
            self.out = nn.Linear(20, 4)
            """,
            """
            for m in self.modules():
                if isinstance(m, nn.Linear) and m is not self.out:
                    x = F.relu(m(x))
            return self.out(x)
            """,
        ),
        ("self.modules()", "[self.first]"),
    ),
    Contrast(
        "unused-layer",
        "for the classes derived from it",
        """
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(20, 20), nn.Linear(20, 4)

    def forward(self, x):
        raise NotImplementedError

class Net(Base):
    def forward(self, x):
        return self.head(F.relu(self.first(x)))

"""
        + trained("Net()"),
        ("self.head(F.relu(self.first(x)))", "F.relu(self.first(x))"),
    ),
    Contrast(
        "unused-layer",
        "only there to be copied",
        network(
            """
            self.block = nn.Linear(20, 20)
            self.blocks = nn.ModuleList(copy.deepcopy(self.block) for _ in range(3))
            self.out = nn.Linear(20, 4)
            """,
            "for block in self.blocks:\n    x = F.relu(block(x))\nreturn self.out(x)",
        ).replace("class Net", "import copy\n\nclass Net"),
        ("copy.deepcopy(self.block)", "nn.Linear(20, 20)"),
    ),
    Contrast(
        "softmax-batch-dim",
        "attention over the nodes of a graph",
        network(
            "self.score, self.out = nn.Linear(20, 1), nn.Linear(20, 4)",
            "weights = F.softmax(self.score(x), dim=0)\nreturn self.out((weights * x).sum(0, keepdim=True))",
        ),
    ),
    Contrast(
        "rnn-batch-first-mixup",
        "the batch moved by a permutation",
        network(
            "self.rnn, self.out = nn.LSTM(8, 16), nn.Linear(16, 4)",
            """
            out, _ = self.rnn(x.permute(1, 0, 2))
            out = out.permute(1, 0, 2)
            return self.out(out[:, -1])
            """,
        ),
        (".permute(1, 0, 2)", ""),
    ),
    *(
        Contrast(
            "relu-output",
            name,
            network(
                "self.a, self.out = nn.Linear(20, 16), nn.Linear(16, 1)",
                "return F.relu(self.out(F.relu(self.a(x))))",
            )
            .replace("F.cross_entropy(model(x), y)", f"F.mse_loss(model(x), {target})")
            .replace("for x, y in", f"for x, {target} in"),
        )
        for name, target in (
            ("a depth cannot be negative", "depth"),
            ("a name that says so", "nonneg_rate"),
        )
    ),
]

MILD = {
    ("functional-dropout-always-on", "switched on in so many words"): network(
        "self.a, self.out = nn.Linear(20, 16), nn.Linear(16, 4)",
        "return self.out(F.dropout(F.relu(self.a(x)), 0.2, training=True))",
    ),
}

SICK = sick(CASES)
HEALTHY = healthy(CASES)
