"""Loop rules on source text: ways of writing a healthy loop that must stay silent, and faults that
must be seen through functions, methods and branches."""

from __future__ import annotations

import textwrap

import pytest

from convlint.engine import check_source
from convlint.findings import Confidence, Severity
from convlint.rules import all_rules

CATEGORIES = ("LOP", "AMP", "OPT", "SCH001", "SCH002")
RULES = [rule for rule in all_rules() if rule.code.startswith(CATEGORIES)]

SETUP = """
import torch
from torch import nn, optim
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
loader = DataLoader(data, batch_size=32, shuffle=True)
val_loader = DataLoader(data, batch_size=32)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
criterion = nn.CrossEntropyLoss()
"""


def found(body: str, *, setup: str = SETUP, level: Severity = Severity.WARNING):
    source = setup + textwrap.dedent(body)
    return [
        (finding.slug, source.splitlines()[finding.location.line - 1].strip())
        for finding in check_source(source, "script.py", rules=RULES)
        if finding.severity.rank >= level.rank
    ]


HEALTHY = {
    "Adadelta with a rate of one and no clipping of a small network": """
        optimizer = optim.Adadelta(model.parameters(), lr=1.0)
        scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
        def train(model, optimizer, epoch):
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
        def test(model):
            model.eval()
            with torch.no_grad():
                for x, y in val_loader:
                    model(x)
        for epoch in range(14):
            train(model, optimizer, epoch)
            test(model)
            scheduler.step()
        """,
    "hand-written descent with clipping, optimizer only on demand": """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float, default=20)
        parser.add_argument("--use-optimizer", action="store_true")
        args = parser.parse_args()
        if args.use_optimizer:
            optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
        lr = args.lr
        for epoch in range(40):
            model.train()
            for x, y in loader:
                if args.use_optimizer:
                    optimizer.zero_grad()
                else:
                    model.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
                if args.use_optimizer:
                    optimizer.step()
                else:
                    for p in model.parameters():
                        p.data.add_(p.grad, alpha=-lr)
        """,
    "generative adversarial networks, cleared by module, two backwards before one step": """
        D = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
        G = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
        bce = nn.BCEWithLogitsLoss()
        opt_d = optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))
        opt_g = optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999))
        for epoch in range(5):
            for x, _ in loader:
                D.zero_grad()
                real = bce(D(x), torch.ones(len(x), 1))
                real.backward()
                fake = G(torch.randn(len(x), 4))
                false = bce(D(fake.detach()), torch.zeros(len(x), 1))
                false.backward()
                opt_d.step()
                G.zero_grad()
                fooled = bce(D(fake), torch.ones(len(x), 1))
                fooled.backward()
                opt_g.step()
        """,
    "full batch of sequences through LBFGS": """
        class Sequence(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = nn.LSTMCell(1, 51)
                self.linear = nn.Linear(51, 1)
            def forward(self, x):
                h = torch.zeros(x.size(0), 51)
                c = torch.zeros(x.size(0), 51)
                outputs = []
                for step in x.split(1, dim=1):
                    h, c = self.lstm(step, (h, c))
                    outputs += [self.linear(h)]
                return torch.cat(outputs, dim=1)
        seq = Sequence()
        mse = nn.MSELoss()
        x = torch.randn(97, 999)
        optimizer = optim.LBFGS(seq.parameters(), lr=0.8)
        for i in range(15):
            def closure():
                optimizer.zero_grad()
                loss = mse(seq(x), x)
                loss.backward()
                return loss
            optimizer.step(closure)
        """,
    "actor and critic with losses collected in lists": """
        import gymnasium as gym
        env = gym.make("CartPole-v1")
        policy = nn.Sequential(nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 2))
        optimizer = optim.Adam(policy.parameters(), lr=3e-2)
        for episode in range(1000):
            state, _ = env.reset()
            losses = []
            for t in range(10000):
                scores = F.softmax(policy(torch.from_numpy(state)), dim=-1)
                chosen = torch.distributions.Categorical(scores)
                action = chosen.sample()
                state, reward, done, cut, _ = env.step(action.item())
                losses.append(-chosen.log_prob(action) * reward)
                if done or cut:
                    break
            optimizer.zero_grad()
            loss = torch.stack(losses).sum()
            loss.backward()
            optimizer.step()
        """,
    "gradients kept per context over remote procedure calls": """
        import torch.distributed.autograd as dist_autograd
        from torch.distributed.optim import DistributedOptimizer
        opt = DistributedOptimizer(optim.SGD, model.parameter_rrefs(), lr=0.05)
        for epoch in range(3):
            for x, y in loader:
                with dist_autograd.context() as context_id:
                    loss = criterion(model(x), y)
                    dist_autograd.backward(context_id, [loss])
                    opt.step(context_id)
        """,
    "micro-batches, scaler, optional clipping, clear at the end, rate written by hand": """
        import math
        dtype = "float16"
        scaler = torch.cuda.amp.GradScaler(enabled=(dtype == "float16"))
        optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4)
        grad_clip = 1.0
        accumulation = 8
        def get_lr(it):
            return 6e-4 * 0.5 * (1 + math.cos(math.pi * it / 1000))
        @torch.no_grad()
        def estimate_loss():
            model.eval()
            total = 0.0
            for x, y in val_loader:
                total += criterion(model(x), y).item()
            model.train()
            return total
        it = 0
        batches = iter(loader)
        x, y = next(batches)
        while True:
            lr = get_lr(it)
            for group in optimizer.param_groups:
                group["lr"] = lr
            if it % 100 == 0:
                estimate_loss()
            for micro in range(accumulation):
                with torch.autocast("cuda", dtype=torch.float16):
                    loss = criterion(model(x), y) / accumulation
                x, y = next(batches)
                scaler.scale(loss).backward()
            if grad_clip != 0.0:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            it += 1
            if it > 1000:
                break
        """,
    "a callable scaler that does backward, clip and step; the caller clears": """
        class NativeScaler:
            def __init__(self):
                self._scaler = torch.cuda.amp.GradScaler()
            def __call__(self, loss, optimizer, clip_grad=None, parameters=None, update_grad=True):
                self._scaler.scale(loss).backward()
                if update_grad:
                    if clip_grad is not None:
                        self._scaler.unscale_(optimizer)
                        torch.nn.utils.clip_grad_norm_(parameters, clip_grad)
                    else:
                        self._scaler.unscale_(optimizer)
                    self._scaler.step(optimizer)
                    self._scaler.update()
        loss_scaler = NativeScaler()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        accum_iter = 4
        for epoch in range(10):
            model.train(True)
            optimizer.zero_grad()
            for step, (x, y) in enumerate(loader):
                loss = criterion(model(x), y) / accum_iter
                loss_scaler(
                    loss, optimizer, parameters=model.parameters(),
                    update_grad=(step + 1) % accum_iter == 0,
                )
                if (step + 1) % accum_iter == 0:
                    optimizer.zero_grad()
        """,
    "a helper that steps and leaves clearing to its caller": """
        def update(loss, optimizer):
            loss.backward()
            optimizer.step()
        """,
    "actor, critics and temperature with optimizers of their own": """
        actor = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        critic = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))
        log_alpha = torch.zeros(1, requires_grad=True)
        actor_optimizer = optim.Adam(list(actor.parameters()), lr=3e-4)
        q_optimizer = optim.Adam(list(critic.parameters()), lr=1e-3)
        a_optimizer = optim.Adam([log_alpha], lr=1e-3)
        for step in range(10000):
            for x, y in loader:
                q_loss = F.mse_loss(critic(torch.cat([x, actor(x).detach()], 1)), torch.ones(1))
                q_optimizer.zero_grad()
                q_loss.backward()
                q_optimizer.step()
                if step % 2 == 0:
                    for _ in range(2):
                        pi_loss = -critic(torch.cat([x, actor(x)], 1)).mean()
                        actor_optimizer.zero_grad()
                        pi_loss.backward()
                        actor_optimizer.step()
                        alpha_loss = (-log_alpha.exp() * pi_loss.detach()).mean()
                        a_optimizer.zero_grad()
                        alpha_loss.backward()
                        a_optimizer.step()
        """,
    "accumulation that accelerate decides": """
        from accelerate import Accelerator
        accelerator = Accelerator(gradient_accumulation_steps=4)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        scheduler = optim.lr_scheduler.LinearLR(optimizer)
        model, optimizer, loader, scheduler = accelerator.prepare(
            model, optimizer, loader, scheduler
        )
        for epoch in range(3):
            model.train()
            for x, y in loader:
                with accelerator.accumulate(model):
                    loss = criterion(model(x), y)
                    accelerator.backward(loss)
                    optimizer.step()
                    scheduler.step()
                    optimizer.zero_grad()
            model.eval()
        """,
    "layers that train themselves": """
        class Layer(nn.Linear):
            def __init__(self, a, b):
                super().__init__(a, b)
                self.opt = optim.Adam(self.parameters(), lr=0.03)
            def forward(self, x):
                return torch.relu(torch.mm(x, self.weight.T) + self.bias)
            def train_layer(self, pos, neg):
                for i in range(1000):
                    gap = self.forward(pos).pow(2).mean(1) - self.forward(neg).pow(2).mean(1)
                    loss = torch.log(1 + torch.exp(-gap)).mean()
                    self.opt.zero_grad()
                    loss.backward()
                    self.opt.step()
                return self.forward(pos).detach(), self.forward(neg).detach()
        layers = [Layer(8, 16), Layer(16, 16)]
        pos, neg = torch.randn(64, 8), torch.randn(64, 8)
        for layer in layers:
            pos, neg = layer.train_layer(pos, neg)
        """,
    "an averaged copy in eval mode": """
        from copy import deepcopy
        ema = deepcopy(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        model.train()
        ema.eval()
        for epoch in range(10):
            for x, y in loader:
                loss = criterion(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        model.eval()
        """,
    "modes switched by train(False) and train(True)": """
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        def evaluate():
            model.train(False)
            with torch.no_grad():
                for x, y in val_loader:
                    model(x)
            model.train(True)
        for step in range(1000):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            if step % 10 == 0:
                evaluate()
        """,
    "one loop for both phases": """
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for epoch in range(10):
            for phase in ["train", "val"]:
                if phase == "train":
                    model.train()
                else:
                    model.eval()
                running = 0.0
                for x, y in loader:
                    optimizer.zero_grad()
                    with torch.set_grad_enabled(phase == "train"):
                        loss = criterion(model(x), y)
                        if phase == "train":
                            loss.backward()
                            optimizer.step()
                    running += loss.item() * x.size(0)
        """,
    "one function for both phases": """
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        def run_epoch(batches, optimizer=None):
            training = optimizer is not None
            model.train(training)
            total = 0.0
            for x, y in batches:
                loss = criterion(model(x), y)
                if training:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                total += float(loss)
            return total
        for epoch in range(10):
            run_epoch(loader, optimizer)
            run_epoch(val_loader)
        """,
    "whole graph in one batch with a decorated test": """
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
        x, y = torch.randn(100, 8), torch.randint(0, 2, (100,))
        mask = torch.arange(100) < 50
        def train():
            model.train()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x)[mask], y[mask])
            loss.backward()
            optimizer.step()
            return float(loss)
        @torch.no_grad()
        def test():
            model.eval()
            return (model(x).argmax(-1) == y).float().mean().item()
        for epoch in range(200):
            train()
            test()
        """,
    "losses summed and back-propagated together": """
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                total = 0
                for part, label in zip(x.chunk(4), y.chunk(4)):
                    total += criterion(model(part), label)
                total.backward()
                optimizer.step()
        """,
    "scaler or plain step by flag": """
        use_amp = True
        scaler = torch.amp.GradScaler("cuda") if use_amp else None
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                if scaler is not None:
                    scaler.scale(loss).backward()
                    scaler.unscale_(optimizer)
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    scaler.step(optimizer)
                    scaler.update()
                else:
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
        """,
    "rate annealed through the parameter groups": """
        optimizer = torch.optim.Adam(model.parameters(), lr=2.5e-4, eps=1e-5)
        for update in range(1, 100):
            optimizer.param_groups[0]["lr"] = (1 - update / 100) * 2.5e-4
            for epoch in range(4):
                for x, y in loader:
                    loss = criterion(model(x), y)
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                    optimizer.step()
        """,
    "a latent vector optimised at a high rate": """
        latent = torch.zeros(1, 8, requires_grad=True)
        optimizer = torch.optim.Adam([latent], lr=0.5)
        for step in range(100):
            optimizer.zero_grad()
            loss = criterion(model(latent), torch.zeros(1, dtype=torch.long))
            loss.backward()
            optimizer.step()
        """,
    "gradient penalty through autograd.grad": """
        D = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
        optimizer = optim.RMSprop(D.parameters(), lr=5e-5)
        for epoch in range(5):
            for x, _ in loader:
                for p in D.parameters():
                    p.data.clamp_(-0.01, 0.01)
                optimizer.zero_grad()
                noise = torch.randn_like(x).requires_grad_()
                slope = torch.autograd.grad(D(noise).sum(), noise, create_graph=True)[0]
                loss = D(x).mean() + (slope.norm(dim=1) - 1).pow(2).mean()
                loss.backward()
                optimizer.step()
        """,
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_loop_is_silent(name):
    assert found(HEALTHY[name]) == []


def test_evaluation_without_mode_sensitive_layers_is_information_at_most():
    setup = SETUP.replace("nn.Dropout(0.5), ", "")
    body = """
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            model.eval()
        """
    assert found(body, setup=setup) == []
    assert found(body, setup=setup, level=Severity.INFO) == [
        ("eval-mode-in-training", "model.eval()")
    ]
    assert found(body) == [("eval-mode-in-training", "model.eval()")]


FAULTS = {
    "trainer class spread over methods": (
        """
        class Trainer:
            def __init__(self, model, loader):
                self.model, self.loader = model, loader
                self.optimizer = optim.SGD(self.model.parameters(), lr=0.1)
            def run_batch(self, x, y):
                loss = F.cross_entropy(self.model(x), y)
                loss.backward()
                self.optimizer.step()
            def run_epoch(self):
                self.model.train()
                for x, y in self.loader:
                    self.run_batch(x, y)
            def fit(self, epochs):
                for epoch in range(epochs):
                    self.run_epoch()
        Trainer(model, loader).fit(10)
        """,
        ("zero-grad-missing", "loss.backward()"),
    ),
    "evaluation in a function leaves eval mode on": (
        """
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        def evaluate(net):
            net.eval()
            with torch.no_grad():
                for x, y in val_loader:
                    net(x)
        for epoch in range(10):
            for i, (x, y) in enumerate(loader):
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                if i % 100 == 0:
                    evaluate(model)
        """,
        ("eval-mode-in-training", "net.eval()"),
    ),
    "clip before unscale in the branch of the scaler only": (
        """
        use_amp = torch.cuda.is_available()
        scaler = torch.amp.GradScaler("cuda")
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                if use_amp:
                    scaler.scale(loss).backward()
                else:
                    loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                if use_amp:
                    scaler.step(optimizer)
                    scaler.update()
                else:
                    optimizer.step()
        """,
        ("clip-without-unscale", "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)"),
    ),
    "generator never cleared beside a cleared critic": (
        """
        D = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
        G = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
        opt_d = optim.Adam(D.parameters(), lr=2e-4)
        opt_g = optim.Adam(G.parameters(), lr=2e-4)
        for epoch in range(5):
            for x, _ in loader:
                opt_d.zero_grad()
                fake = G(torch.randn(len(x), 4))
                critic_loss = D(fake.detach()).mean() - D(x).mean()
                critic_loss.backward()
                opt_d.step()
                generator_loss = -D(fake).mean()
                generator_loss.backward()
                opt_g.step()
        """,
        ("zero-grad-missing", "generator_loss.backward()"),
    ),
    "full batch": (
        """
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(100):
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        """,
        ("zero-grad-missing", "loss.backward()"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found_where_it_is(name):
    body, expected = FAULTS[name]
    assert found(body) == [expected]


def test_optimizer_handed_to_an_unknown_package_hides_the_absence():
    body = """
        from somewhere import helper
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            helper(optimizer)
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        """
    assert found(body) == []
    source = SETUP + textwrap.dedent(body)
    hidden = check_source(source, "script.py", rules=RULES, min_confidence=Confidence.LOW)
    assert [finding.confidence for finding in hidden] == [Confidence.LOW]


@pytest.mark.parametrize("written", ["total += loss", "total += (loss)", "total += loss.cpu()"])
def test_fix_of_a_total_removes_the_finding(written):
    source = SETUP + textwrap.dedent(
        f"""
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            total = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                {written}
        """
    )
    (finding,) = check_source(source, "script.py", rules=RULES)
    assert finding.slug == "loss-graph-accumulated"
    if finding.fix is None:
        return
    (edit,) = finding.fix.edits
    lines = source.splitlines(keepends=True)
    line, column = edit.location.line - 1, edit.location.column - 1
    lines[line] = lines[line][:column] + edit.replacement + lines[line][column:]
    fixed = "".join(lines)
    compile(fixed, "script.py", "exec")
    assert check_source(fixed, "script.py", rules=RULES) == []
