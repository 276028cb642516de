"""What keeps training loops healthy, and the same scripts without it."""

import textwrap

from contrasts import Contrast, healthy, sick
from on_source import LOOP_HEAD, LOOP_MODEL

HEAD = LOOP_HEAD

MODEL = textwrap.dedent(LOOP_MODEL)

RECURRENT = """
class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(100, 16)
        self.rnn = nn.GRU(16, 32, batch_first=True)
        self.out = nn.Linear(32, 5)

    def forward(self, x):
        return self.out(self.rnn(self.embed(x))[0])

"""


def script(body: str) -> str:
    """A model, its optimizer, a scaler and a loss, and then these lines."""
    return MODEL + textwrap.dedent(body).strip("\n") + "\n"


def rebinding(update: str) -> str:
    """A linear regression by hand whose weight is updated like this."""
    update = textwrap.indent(textwrap.dedent(update).strip(), "    ")
    return f"""
x, y = torch.randn(64, 3), torch.randn(64)
w = torch.zeros(3, requires_grad=True)
for step in range(100):
    loss = ((x @ w - y) ** 2).mean()
    loss.backward()
{update}
"""


def bootstrapped(target: str, setup: str = "") -> str:
    """Q-learning with this target."""
    target = textwrap.indent(textwrap.dedent(target).strip(), "    ")
    return f"""
q = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = optim.Adam(q.parameters(), lr=1e-3)
{textwrap.dedent(setup).strip()}
for step in range(1000):
    state, after = torch.randn(32, 4), torch.randn(32, 4)
    action, reward, done = torch.randint(0, 2, (32, 1)), torch.randn(32), torch.zeros(32)
{target}
    value = q(state).gather(1, action).squeeze(1)
    loss = F.smooth_l1_loss(value, target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


def distilled(loss: str) -> str:
    """A student and its teacher, trained with this loss."""
    return f"""
teacher = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 2))
student = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
optimizer = optim.Adam(student.parameters(), lr=1e-3)
for x, y in loader:
    optimizer.zero_grad()
    taught, learned = teacher(x), student(x)
    loss = {loss}
    loss.backward()
    optimizer.step()
"""


CASES = [
    # updates by hand
    Contrast(
        "rebinding-update",
        "under no_grad",
        rebinding("with torch.no_grad():\n    w -= 0.1 * w.grad\nw.grad.zero_()"),
        ("with torch.no_grad():", "if True:"),
    ),
    Contrast(
        "rebinding-update",
        "through its data",
        rebinding("w.data -= 0.1 * w.grad\nw.grad = None"),
        ("w.data -= 0.1 * w.grad", "w = w - 0.1 * w.grad"),
    ),
    Contrast(
        "rebinding-update",
        "made a leaf again",
        rebinding("w = (w - 0.1 * w.grad).detach().requires_grad_()"),
        (".detach().requires_grad_()", ""),
    ),
    Contrast(
        "rebinding-update",
        "gradients of a function",
        """
from torch.func import grad

x, y = torch.randn(64, 3), torch.randn(64)
w = torch.zeros(3)

def loss(w):
    return ((x @ w - y) ** 2).mean()

for step in range(100):
    w = w - 0.1 * grad(loss)(w)
""",
    ),
    Contrast(
        "rebinding-update",
        "NumPy has no gradients of its own",
        """
x, y = np.random.randn(64, 3), np.random.randn(64)
w = np.zeros(3)
for step in range(100):
    gradient = 2 * x.T @ (x @ w - y) / len(y)
    w = w - 0.1 * gradient
""",
    ),
    Contrast(
        "rebinding-update",
        "a step of an inner loop that is differentiated",
        """
w = torch.zeros(3, requires_grad=True)
optimizer = optim.SGD([w], lr=0.01)
for task in range(100):
    x, y = torch.randn(64, 3), torch.randn(64)
    fast = w
    for _ in range(5):
        loss = ((x @ fast - y) ** 2).mean()
        (g,) = torch.autograd.grad(loss, fast, create_graph=True)
        fast = fast - 0.1 * g
    optimizer.zero_grad()
    ((x @ fast - y) ** 2).mean().backward()
    optimizer.step()
""",
    ),
    # clipping by name
    Contrast(
        "norm-read-as-clip",
        "clipped at one",
        script("""
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                norm = clip_grad_norm_(model.parameters(), 1.0)
                print(norm.item())
                optimizer.step()
        """),
        ("model.parameters(), 1.0", 'model.parameters(), float("inf")'),
    ),
    Contrast(
        "norm-read-as-clip",
        "the norm by its name",
        script("""
            def gradient_norm(model):
                return torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])

            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                print(gradient_norm(model).item())
                optimizer.step()
        """),
        (
            "torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])",
            "clip_grad_norm_(model.parameters(), max_norm=1e9)",
        ),
    ),
    Contrast(
        "clip-threshold-odd",
        "a billion, to read the norm",
        script("""
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                norm = clip_grad_norm_(model.parameters(), 1e9)
                print(norm.item())
                optimizer.step()
        """),
        ("1e9", "1e4"),
    ),
    # targets
    Contrast(
        "target-net-in-graph",
        "under no_grad",
        bootstrapped("""
            with torch.no_grad():
                target = reward + 0.99 * q(after).max(1)[0] * (1 - done)
        """),
        ("with torch.no_grad():", "if True:"),
    ),
    Contrast(
        "target-net-in-graph",
        "detached",
        bootstrapped("target = (reward + 0.99 * (1 - done) * q(after).max(1)[0]).detach()"),
        (".detach()", ""),
    ),
    Contrast(
        "target-net-in-graph",
        "detached where it is compared",
        bootstrapped("target = reward + 0.99 * q(after).max(1)[0]").replace(
            "(value, target)", "(value, target.detach())"
        ),
        (".detach()", ""),
    ),
    Contrast(
        "target-net-in-graph",
        "a frozen network",
        bootstrapped(
            "target = reward + 0.99 * target_q(after).max(1)[0]",
            """
            target_q = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
            target_q.requires_grad_(False)
            """,
        ),
        ("target_q.requires_grad_(False)", "target_q.load_state_dict(q.state_dict())"),
    ),
    Contrast(
        "target-net-in-graph",
        "stopped by a function",
        """
class Agent:
    def __init__(self, gamma=0.99):
        self.critic, self.gamma = nn.Linear(4, 1), gamma
        self.optimizer = optim.Adam(self.critic.parameters(), lr=1e-3)

    @torch.no_grad()
    def target(self, reward, after):
        return reward + self.gamma * self.critic(after).squeeze(-1)

    def update(self, state, reward, after):
        loss = F.mse_loss(self.critic(state).squeeze(-1), self.target(reward, after))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

agent = Agent()
for step in range(100):
    agent.update(torch.randn(32, 4), torch.randn(32), torch.randn(32, 4))
""",
        ("    @torch.no_grad()\n", ""),
    ),
    # predictions
    Contrast(
        "unused-prediction",
        "what the student learned",
        distilled("F.cross_entropy(learned, y)"),
        ("F.cross_entropy(learned, y)", "F.cross_entropy(taught, y)"),
    ),
    Contrast(
        "unused-prediction",
        "distilled from the teacher",
        distilled("F.mse_loss(learned, taught.detach()) + 0.1 * F.cross_entropy(learned, y)"),
        (
            "F.mse_loss(learned, taught.detach()) + 0.1 * F.cross_entropy(learned, y)",
            "F.mse_loss(taught, taught.detach()) + 0.1 * F.cross_entropy(taught, y)",
        ),
    ),
    Contrast(
        "unused-prediction",
        "an auxiliary output beside the main one",
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.main, self.aux = nn.Linear(8, 16), nn.Linear(16, 2), nn.Linear(16, 2)

    def forward(self, x):
        h = F.relu(self.body(x))
        return self.main(h), self.aux(h)

model = Net()
optimizer = optim.Adam(model.parameters(), lr=1e-3)
for x, y in loader:
    optimizer.zero_grad()
    scores, auxiliary = model(x)
    print(auxiliary.mean().item())
    F.cross_entropy(scores, y).backward()
    optimizer.step()
""",
    ),
    Contrast(
        "unused-prediction",
        "a second forward for the log",
        script("""
            for x, y in loader:
                optimizer.zero_grad()
                print(model(x).std().item())
                criterion(model(x + 0.1 * torch.randn_like(x)), y).backward()
                optimizer.step()
        """),
    ),
    # evaluation
    Contrast(
        "partial-eval",
        "every model of the list",
        """
members = [nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.2), nn.Linear(16, 2)) for _ in range(3)]
optimizers = [optim.Adam(m.parameters(), lr=1e-3) for m in members]
for epoch in range(5):
    for m, optimizer in zip(members, optimizers):
        m.train()
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(m(x), y).backward()
            optimizer.step()
    for m in members:
        m.eval()
    with torch.no_grad():
        for x, y in val_loader:
            votes = sum(m(x).softmax(1) for m in members)
            print((votes.argmax(1) == y).float().mean().item())
""",
        ("    for m in members:\n        m.eval()\n", "    members[0].eval()\n"),
    ),
    Contrast(
        "partial-eval",
        "the other has nothing to switch",
        """
encoder = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU())
head = nn.Linear(16, 2)
optimizer = optim.Adam([*encoder.parameters(), *head.parameters()], lr=1e-3)
for epoch in range(5):
    encoder.train()
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(head(encoder(x)), y).backward()
        optimizer.step()
    encoder.eval()
    with torch.no_grad():
        for x, y in val_loader:
            print((head(encoder(x)).argmax(1) == y).float().mean().item())
""",
        ("head = nn.Linear(16, 2)", "head = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, 2))"),
    ),
    Contrast(
        "eval-missing",
        "by the function that is called",
        script("""
            def evaluate(net):
                net.eval()
                correct = 0
                with torch.no_grad():
                    for x, y in val_loader:
                        correct += (net(x).argmax(1) == y).sum().item()
                net.train()
                return correct

            for epoch in range(3):
                for x, y in loader:
                    optimizer.zero_grad()
                    criterion(model(x), y).backward()
                    optimizer.step()
                print(evaluate(model))
        """),
        ("    net.eval()\n", ""),
    ),
    # clearing
    Contrast(
        "zero-grad-missing",
        "a Trainer of transformers",
        """
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

class MyTrainer(Trainer):
    def training_step(self, model, inputs):
        loss = self.compute_loss(model, inputs)
        loss.backward()
        return loss.detach()

model = AutoModelForCausalLM.from_pretrained("gpt2")
trainer = MyTrainer(model=model, args=TrainingArguments("out"), train_dataset=data)
trainer.train()
""",
    ),
    Contrast(
        "zero-grad-missing",
        "a functional optimizer",
        """
from torch.func import functional_call, grad

model = nn.Linear(8, 2)
parameters = dict(model.named_parameters())

def loss(parameters, x, y):
    return F.cross_entropy(functional_call(model, parameters, (x,)), y)

for x, y in loader:
    gradients = grad(loss)(parameters, x, y)
    parameters = {k: p - 0.1 * gradients[k] for k, p in parameters.items()}
""",
    ),
    Contrast(
        "zero-grad-missing",
        "over remote procedure calls",
        """
import torch.distributed.autograd as dist_autograd
import torch.distributed.rpc as rpc
from torch.distributed.optim import DistributedOptimizer

def run(model):
    optimizer = DistributedOptimizer(optim.SGD, model.parameter_rrefs(), lr=0.05)
    for x, y in loader:
        with dist_autograd.context() as context_id:
            loss = F.cross_entropy(model(x), y)
            dist_autograd.backward(context_id, [loss])
            optimizer.step(context_id)
""",
    ),
    Contrast(
        "zero-grad-missing",
        "gradients of each network",
        """
D, G = nn.Linear(8, 1), nn.Linear(4, 8)
optD, optG = optim.Adam(D.parameters(), lr=2e-4), optim.Adam(G.parameters(), lr=2e-4)
for real, _ in loader:
    D.zero_grad()
    fake = G(torch.randn(len(real), 4))
    F.softplus(-D(real)).mean().backward()
    F.softplus(D(fake.detach())).mean().backward()
    optD.step()
    G.zero_grad()
    F.softplus(-D(fake)).mean().backward()
    optG.step()
""",
        ("    D.zero_grad()\n", ""),
    ),
    Contrast(
        "zero-grad-missing",
        "a helper that gets everything",
        """
class LossScaler:
    def __init__(self):
        self._scaler = torch.cuda.amp.GradScaler()

    def __call__(self, loss, optimizer, clip=None, parameters=None, update=True):
        self._scaler.scale(loss).backward()
        if update:
            if clip is not None:
                self._scaler.unscale_(optimizer)
                clip_grad_norm_(parameters, clip)
            self._scaler.step(optimizer)
            self._scaler.update()
""",
    ),
    Contrast(
        "accumulation-not-normalised",
        "backward under the same condition",
        script("""
            total = 0.0
            for i, (x, y) in enumerate(loader):
                total = total + criterion(model(x), y)
                if (i + 1) % 4 == 0:
                    (total / 4).backward()
                    optimizer.step()
                    optimizer.zero_grad()
                    total = 0.0
        """),
    ),
    Contrast(
        "backward-missing",
        "gradients assigned one by one",
        script("""
            for x, y in loader:
                gradients = torch.autograd.grad(criterion(model(x), y), list(model.parameters()))
                for p, g in zip(model.parameters(), gradients):
                    p.grad = g
                optimizer.step()
        """),
    ),
    Contrast(
        "backward-missing",
        "projected gradients",
        script("""
            for x, y in loader:
                loss = criterion(model(x), y)
                for p in model.parameters():
                    g = torch.autograd.grad(loss, p, retain_graph=True)[0]
                    p.grad = g - (g * p).sum() * p / p.pow(2).sum()
                optimizer.step()
        """),
    ),
    Contrast(
        "clip-after-step",
        "gradients of the next iteration follow",
        script("""
            x, y = next(iter(loader))
            criterion(model(x), y).backward()
            for x, y in loader:
                clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                criterion(model(x), y).backward()
        """),
    ),
    # clipping
    Contrast(
        "missing-clipping",
        "sequences of ten steps",
        RECURRENT
        + """
tokens, tags = torch.randint(0, 100, (256, 10)), torch.randint(0, 5, (256, 10))
loader = DataLoader(TensorDataset(tokens, tags), batch_size=32, shuffle=True)
model = Tagger()
optimizer = optim.Adam(model.parameters(), lr=1e-3)
for x, y in loader:
    optimizer.zero_grad()
    F.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
    optimizer.step()
""",
        ("(256, 10)", "(256, 80)"),
    ),
    Contrast(
        "missing-clipping",
        "a frozen encoder",
        RECURRENT
        + """
loader = [(torch.randint(0, 100, (32, 80)), torch.randint(0, 5, (32, 80))) for _ in range(8)]
model = Tagger()
for p in model.rnn.parameters():
    p.requires_grad = False
optimizer = optim.Adam(model.out.parameters(), lr=1e-3)
for x, y in loader:
    optimizer.zero_grad()
    F.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
    optimizer.step()
""",
        (
            """for p in model.rnn.parameters():
    p.requires_grad = False
optimizer = optim.Adam(model.out.parameters(), lr=1e-3)""",
            "optimizer = optim.Adam(model.parameters(), lr=1e-3)",
        ),
    ),
    Contrast(
        "missing-clipping",
        "a Trainer clips by default",
        """
from transformers import Trainer, TrainingArguments

"""
        + RECURRENT
        + """
trainer = Trainer(model=Tagger(), args=TrainingArguments("out"), train_dataset=data)
trainer.train()
""",
    ),
    # modes
    Contrast(
        "eval-mode-in-training",
        "in training mode at the top",
        script("""
            for epoch in range(3):
                model.train()
                for x, y in loader:
                    optimizer.zero_grad()
                    criterion(model(x), y).backward()
                    optimizer.step()
                model.eval()
                with torch.no_grad():
                    print(sum(criterion(model(x), y).item() for x, y in val_loader))
        """),
        ("    model.train()\n", ""),
    ),
    Contrast(
        "eval-before-training",
        "back before the loop",
        script("""
            model.eval()
            with torch.no_grad():
                print(sum(criterion(model(x), y).item() for x, y in val_loader))
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
        """),
        ("model.train()\n", ""),
    ),
    Contrast(
        "backward-under-no-grad",
        "enabled again inside",
        script("""
            with torch.no_grad():
                for x, y in loader:
                    with torch.enable_grad():
                        optimizer.zero_grad()
                        criterion(model(x), y).backward()
                    optimizer.step()
        """),
        ("with torch.enable_grad():", "if True:"),
    ),
    Contrast(
        "retain-graph-in-loop",
        "two networks learn from one graph",
        """
D, G = nn.Linear(8, 1), nn.Linear(4, 8)
optD, optG = optim.Adam(D.parameters(), lr=2e-4), optim.Adam(G.parameters(), lr=2e-4)
for real, _ in loader:
    fake = G(torch.randn(len(real), 4))
    optD.zero_grad()
    (F.softplus(D(fake)) + F.softplus(-D(real))).mean().backward(retain_graph=True)
    optD.step()
    optG.zero_grad()
    F.softplus(-D(fake)).mean().backward()
    optG.step()
""",
    ),
    *(
        Contrast(
            "best-state-aliased",
            name,
            script(f"""
                best, best_state = float("inf"), None
                for epoch in range(10):
                    for x, y in loader:
                        optimizer.zero_grad()
                        criterion(model(x), y).backward()
                        optimizer.step()
                    with torch.no_grad():
                        score = sum(criterion(model(x), y).item() for x, y in val_loader)
                    if score < best:
                        best = score
                        best_state = {copied}
                model.load_state_dict(best_state)
            """),
            (copied, "model.state_dict()"),
        )
        for name, copied in (
            ("a deep copy", "copy.deepcopy(model.state_dict())"),
            ("every tensor cloned", "{k: v.clone() for k, v in model.state_dict().items()}"),
            (
                "every tensor brought to the host",
                "{k: v.cpu() for k, v in model.state_dict().items()}",
            ),
        )
    ),
    Contrast(
        "constant-batches",
        "an endless iterator over the epochs",
        script("""
            import itertools
            batches = itertools.cycle(loader)
            for step in range(1000):
                x, y = next(batches)
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
        """),
        ("next(batches)", "next(iter(val_loader))"),
    ),
    Contrast(
        "constant-batches",
        "one batch when asked to overfit it",
        script("""
            parser = argparse.ArgumentParser()
            parser.add_argument("--overfit", action="store_true")
            args = parser.parse_args()
            batches = iter(loader)
            for step in range(1000):
                x, y = next(iter(val_loader)) if args.overfit else next(batches)
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
        """),
        (" if args.overfit else next(batches)", ""),
    ),
    Contrast(
        "exhausted-iterator",
        "made anew every epoch",
        script("""
            for epoch in range(10):
                batches = iter(loader)
                for x, y in batches:
                    optimizer.zero_grad()
                    criterion(model(x), y).backward()
                    optimizer.step()
        """),
        (
            "for epoch in range(10):\n    batches = iter(loader)\n",
            "batches = iter(loader)\nfor epoch in range(10):\n",
        ),
    ),
    Contrast(
        "debug-break",
        "at the number of steps asked for",
        script("""
            for epoch in range(10):
                for step, (x, y) in enumerate(loader):
                    optimizer.zero_grad()
                    criterion(model(x), y).backward()
                    optimizer.step()
                    if step + 1 == 500:
                        break
        """),
        ("if step + 1 == 500:\n            break", "break"),
    ),
    Contrast(
        "call-forward",
        "the forward of the base class",
        """
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 2)

    def forward(self, x):
        return self.a(x)

class Net(Base):
    def forward(self, x):
        return super().forward(x).relu()

model = Net()
optimizer = optim.SGD(model.parameters(), lr=0.1)
for x, y in loader:
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
""",
    ),
    Contrast(
        "graph-reused-after-step",
        "detached before the step",
        """
D, G = nn.Linear(8, 1), nn.Linear(4, 8)
optD, optG = optim.Adam(D.parameters(), lr=2e-4), optim.Adam(G.parameters(), lr=2e-4)
for real, _ in loader:
    fake = G(torch.randn(len(real), 4))
    optD.zero_grad()
    (D(fake.detach()) - D(real)).mean().backward()
    optD.step()
    optG.zero_grad()
    (-D(fake)).mean().backward()
    optG.step()
""",
    ),
    Contrast(
        "model-shared-across-folds",
        "made for every fold",
        """
from sklearn.model_selection import KFold

for fold, (train, test) in enumerate(KFold(5).split(data.tensors[0])):
    model = nn.Linear(8, 2)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    for x, y in DataLoader(torch.utils.data.Subset(data, train), batch_size=32, shuffle=True):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
""",
        (
            """for fold, (train, test) in enumerate(KFold(5).split(data.tensors[0])):
    model = nn.Linear(8, 2)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
""",
            """model = nn.Linear(8, 2)
optimizer = optim.Adam(model.parameters(), lr=1e-3)
for fold, (train, test) in enumerate(KFold(5).split(data.tensors[0])):
""",
        ),
    ),
    Contrast(
        "loss-overwritten-in-loop",
        "differentiated inside of the loop",
        script("""
            for x, y in loader:
                optimizer.zero_grad()
                for t in range(4):
                    loss = criterion(model(x + t), y)
                    loss.backward()
                optimizer.step()
        """),
        ("        loss.backward()\n", "        pass\n    loss.backward()\n"),
    ),
    Contrast(
        "clip-other-parameters",
        "clips that cover it between them",
        """
import itertools

body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
head = nn.Linear(16, 2)
optimizer = optim.Adam(itertools.chain(body.parameters(), head.parameters()), lr=1e-3)
for x, y in loader:
    optimizer.zero_grad()
    F.cross_entropy(head(body(x)), y).backward()
    clip_grad_norm_(body.parameters(), 1.0)
    clip_grad_norm_(head.parameters(), 1.0)
    optimizer.step()
""",
        ("    clip_grad_norm_(body.parameters(), 1.0)\n", ""),
    ),
    Contrast(
        "clip-other-parameters",
        "only the recurrent part needs it",
        RECURRENT
        + """
model = Tagger()
optimizer = optim.Adam(model.parameters(), lr=1e-3)
for x, y in loader:
    optimizer.zero_grad()
    F.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
    clip_grad_norm_(model.rnn.parameters(), 1.0)
    optimizer.step()
""",
    ),
    Contrast(
        "absolute-tolerance-on-minibatch-loss",
        "all of the data at once",
        """
x, y = data.tensors
model = nn.Linear(8, 2)
optimizer = optim.SGD(model.parameters(), lr=0.1)
previous = float("inf")
for step in range(10_000):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    if abs(previous - loss.item()) < 1e-4:
        break
    previous = loss.item()
""",
        ("for step in range(10_000):\n", "for x, y in loader:\n"),
    ),
    # mixed precision
    Contrast(
        "clip-without-unscale",
        "bfloat16 is not scaled",
        script("""
            for x, y in loader:
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype=torch.bfloat16):
                    loss = criterion(model(x), y)
                loss.backward()
                clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
        """),
    ),
    Contrast(
        "clip-without-unscale",
        "the scaler of sharded models",
        script("""
            from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler
            scaler = ShardedGradScaler()
            for x, y in loader:
                optimizer.zero_grad()
                scaler.scale(criterion(model(x), y)).backward()
                scaler.unscale_(optimizer)
                model.clip_grad_norm_(1.0)
                scaler.step(optimizer)
                scaler.update()
        """),
    ),
    Contrast(
        "scaled-loss-plain-step",
        "either branch steps as it differentiated",
        script("""
            use_amp = torch.cuda.is_available()
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                if use_amp:
                    scaler.scale(loss).backward()
                    scaler.step(optimizer)
                    scaler.update()
                else:
                    loss.backward()
                    optimizer.step()
        """),
        (
            "scaler.step(optimizer)\n        scaler.update()",
            "optimizer.step()\n        scaler.update()",
        ),
    ),
    Contrast(
        "half-model-training",
        "an engine keeps the master weights",
        """
import deepspeed

net = nn.Linear(8, 2).half()
engine, optimizer, _, _ = deepspeed.initialize(
    model=net, model_parameters=net.parameters(), config={"fp16": {"enabled": True}}
)
for x, y in loader:
    loss = F.cross_entropy(engine(x.half()).float(), y)
    engine.backward(loss)
    engine.step()
""",
    ),
    Contrast(
        "half-model-training",
        "to predict only",
        script("""
            model.half()
            model.eval()
            with torch.no_grad():
                for x, y in val_loader:
                    print(model(x.half()).argmax(1))
        """),
    ),
]

MILD = {
    ("eval-mode-in-training", "nothing in the model has a mode"): """
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(3):
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                print(sum(F.cross_entropy(model(x), y).item() for x, y in val_loader))
    """,
}

SICK = sick(CASES)
HEALTHY = healthy(CASES)
