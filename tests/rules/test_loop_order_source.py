"""Loop, precision, monitoring and reproducibility rules on source text: each fault written in
another way than in the rule's own example, and the healthy code that looks like it."""

from __future__ import annotations

import textwrap

import pytest

from convlint.engine import check_source
from convlint.findings import Confidence, Severity
from convlint.rules import find_rule

SETUP = """
import copy
import torch
from torch import nn, optim
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
loader = DataLoader(data, batch_size=32, shuffle=True)
val_loader = DataLoader(data, batch_size=32)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD(model.parameters(), lr=0.1)
"""


def found(slug: str, body: str) -> list[Severity]:
    rule = find_rule(slug)
    assert rule is not None
    findings = check_source(
        SETUP + textwrap.dedent(body), "train.py", rules=[rule], min_confidence=Confidence.MEDIUM
    )
    return [finding.severity for finding in findings]


SICK = {
    ("no-grad-missing-eval", "all data at once, in a function"): """
        x, y = data.tensors

        def train():
            model.train()
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()

        def test():
            model.eval()
            return (model(x).argmax(1) == y).float().mean()

        for epoch in range(100):
            train()
            print(test())
        """,
    ("clip-without-unscale", "a scaler that an option switches on"): """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--amp", action="store_true")
        args = parser.parse_args()
        scaler = torch.amp.GradScaler("cuda", enabled=args.amp)
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16, enabled=args.amp):
                loss = criterion(model(x), y)
            scaler.scale(loss).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
        """,
    ("zero-grad-missing", "a function nobody calls gets its optimizer as an argument"): """
        def fit(net, batches, algorithm):
            for x, y in batches:
                loss = criterion(net(x), y)
                loss.backward()
                algorithm.step()
        """,
    ("zero-grad-missing", "the same beside a scheduler"): """
        def fit(net, batches, opt, scheduler):
            for x, y in batches:
                loss = criterion(net(x), y)
                loss.backward()
                opt.step()
                scheduler.step()
        """,
    ("accumulation-not-normalised", "the functional loss, in a helper"): """
        def compute(x, y):
            return F.cross_entropy(model(x), y)
        for i, (x, y) in enumerate(loader):
            compute(x, y).backward()
            if i % 8 == 7:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        """,
    ("backward-under-no-grad", "a loss computed under inference_mode"): """
        for x, y in loader:
            optimizer.zero_grad()
            with torch.inference_mode():
                loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        """,
    ("hidden-state-not-detached", "the state starts as None"): """
        rnn = nn.LSTM(8, 16)
        optimizer = optim.SGD(rnn.parameters(), lr=0.1)
        hidden = None
        for x, y in loader:
            optimizer.zero_grad()
            out, hidden = rnn(x, hidden)
            loss = out.mean()
            loss.backward()
            optimizer.step()
        """,
    ("retain-graph-in-loop", "in a function"): """
        def train_epoch():
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward(retain_graph=True)
                optimizer.step()
        for epoch in range(3):
            train_epoch()
        """,
    ("constant-batches", "a loader without shuffle"): """
        for step in range(100):
            batch = next(iter(val_loader))
            optimizer.zero_grad()
            criterion(model(batch[0]), batch[1]).backward()
            optimizer.step()
        """,
    ("exhausted-iterator", "iter before the epochs"): """
        batches = iter(loader)
        for epoch in range(3):
            for x, y in batches:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
        """,
    ("debug-break", "in the first iteration"): """
        for epoch in range(3):
            for i, (x, y) in enumerate(loader):
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
                if i == 0:
                    break
        """,
    ("zero-grad-inside-accumulation", "clear after the step but in every iteration"): """
        for i, (x, y) in enumerate(loader):
            loss = criterion(model(x), y) / 4
            loss.backward()
            if i % 4 == 3:
                optimizer.step()
            model.zero_grad()
        """,
    ("loss-overwritten-in-loop", "several crops"): """
        for x, y in loader:
            optimizer.zero_grad()
            for crop in x.unbind(1):
                loss = F.cross_entropy(model(crop), y)
            loss.backward()
            optimizer.step()
        """,
    ("clip-threshold-odd", "a tiny norm"): """
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=1e-4)
            optimizer.step()
        """,
    ("clip-other-parameters", "a frozen teacher is clipped"): """
        teacher = nn.Linear(8, 2)
        for x, y in loader:
            optimizer.zero_grad()
            (criterion(model(x), y) + teacher(x).mean()).backward()
            nn.utils.clip_grad_value_(teacher.parameters(), 0.5)
            optimizer.step()
        """,
    ("uncalled-method", "eval before an evaluation"): "model.eval\n",
    ("uncalled-method", "backward of a loss"): """
        for x, y in loader:
            loss = criterion(model(x), y)
            loss.backward
        """,
    ("discarded-result", "a prediction moved to the CPU"): """
        for x, y in loader:
            prediction = model(x)
            prediction.cpu()
        """,
    ("swallowed-step-error", "a bare except"): """
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            try:
                loss.backward()
                optimizer.step()
            except:
                pass
        """,
    ("best-state-aliased", "saved after the run"): """
        best, state = 0.0, None
        for epoch in range(3):
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            if evaluate(epoch) > best:
                state = model.state_dict()
        torch.save(state, "best.pt")
        """,
    ("eval-missing", "an evaluation in a function"): """
        def accuracy():
            with torch.no_grad():
                return sum((model(x).argmax(1) == y).sum().item() for x, y in val_loader)
        def validate():
            hits = 0
            with torch.no_grad():
                for x, y in val_loader:
                    hits += (model(x).argmax(1) == y).sum().item()
            return hits
        for epoch in range(3):
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            validate()
        """,
    ("fp16-without-scaler", "the older spelling of the dtype"): """
        for x, y in loader:
            optimizer.zero_grad()
            with torch.amp.autocast(device_type="cuda", dtype=torch.half):
                loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        """,
    ("half-model-training", "through to()"): """
        net = nn.Linear(8, 2).to(torch.float16)
        opt = optim.Adam(net.parameters())
        for x, y in loader:
            opt.zero_grad()
            criterion(net(x.half()), y).backward()
            opt.step()
        """,
    ("bce-under-autocast", "the module form"): """
        bce = nn.BCELoss()
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda"):
                loss = bce(torch.sigmoid(model(x)), y)
            loss.backward()
            optimizer.step()
        """,
    ("unscale-twice-or-late", "twice"): """
        scaler = torch.amp.GradScaler("cuda")
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda"):
                loss = criterion(model(x), y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        """,
    ("seed-in-train-loop", "in the loop over batches"): """
        for x, y in loader:
            torch.cuda.manual_seed_all(1)
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        """,
    ("monitor-direction", "infinity where larger is better"): """
        best = float("inf")
        for epoch in range(3):
            reward = evaluate()
            if reward > best:
                best = reward
        """,
    ("monitor-direction", "a smaller accuracy is the best"): """
        best_acc = 0.5
        for epoch in range(3):
            val_acc = evaluate()
            if val_acc < best_acc:
                best_acc = val_acc
        """,
    ("patience-counter-never-reset", "in a class"): """
        class EarlyStopping:
            def __init__(self):
                self.best, self.bad, self.stop = 1e9, 0, False
            def check(self, val_loss):
                for _ in range(1):
                    if val_loss < self.best:
                        self.best = val_loss
                    else:
                        self.bad += 1
                        if self.bad > 3:
                            self.stop_now = True
        """,
    ("last-weights-kept", "the score is printed only"): """
        best, bad = 1e9, 0
        for epoch in range(30):
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            score = evaluate()
            if score < best:
                best, bad = score, 0
                best = score
                bad = 0
                print(best)
            else:
                bad += 1
            if bad == 5:
                break
        """,
    ("model-shared-across-folds", "folds of scikit-learn"): """
        from sklearn.model_selection import KFold
        for fold, (train, val) in enumerate(KFold(5).split(data)):
            for epoch in range(3):
                for x, y in loader:
                    optimizer.zero_grad()
                    criterion(model(x), y).backward()
                    optimizer.step()
        """,
    ("loss-term-without-gradient", "a detached auxiliary loss"): """
        for x, y in loader:
            optimizer.zero_grad()
            out = model(x)
            loss = F.cross_entropy(out, y) + F.mse_loss(out, out * 0).detach()
            loss.backward()
            optimizer.step()
        """,
    ("graph-reused-after-step", "two heads of one body"): """
        body, head = nn.Linear(8, 8), nn.Linear(8, 2)
        opt_body = optim.SGD(body.parameters(), lr=0.1)
        opt_head = optim.SGD(head.parameters(), lr=0.1)
        for x, y in loader:
            opt_body.zero_grad()
            opt_head.zero_grad()
            out = head(body(x))
            criterion(out, y).backward(retain_graph=True)
            opt_head.step()
            out.pow(2).mean().backward()
            opt_body.step()
        """,
    ("gan-generator-graph-in-d", "one noise for both losses"): """
        G, D = nn.Linear(8, 4), nn.Linear(4, 1)
        opt_G, opt_D = optim.Adam(G.parameters()), optim.Adam(D.parameters())
        for x, y in loader:
            opt_G.zero_grad()
            opt_D.zero_grad()
            (F.softplus(D(G(x))) + F.softplus(-D(y))).mean().backward()
            opt_D.step()
            F.softplus(-D(G(x))).mean().backward()
            opt_G.step()
        """,
    ("call-forward", "in an evaluation"): """
        for x, y in loader:
            print(model.forward(x))
        """,
    ("no-grad-missing-eval", "a function"): """
        def test():
            for x, y in val_loader:
                print(model(x))
        test()
        """,
    ("single-update", "no loop at all"): """
        x, y = next(iter(loader))
        criterion(model(x), y).backward()
        optimizer.step()
        """,
    ("partial-accumulation-leak", "in a function"): """
        def epoch():
            for i, (x, y) in enumerate(loader):
                criterion(model(x), y).backward()
                if i % 8 == 7:
                    optimizer.step()
                    optimizer.zero_grad()
        for _ in range(3):
            epoch()
        """,
    ("stop-on-training-loss", "in a loop with a validation accuracy"): """
        best, bad = 1e9, 0
        for epoch in range(30):
            train_loss, val_acc = fit()
            if train_loss < best:
                best = train_loss
                bad = 0
            else:
                bad += 1
                if bad == 5:
                    break
        """,
    ("test-set-selection", "accuracies"): """
        best_acc = 0
        for epoch in range(30):
            val_acc, test_acc = evaluate()
            if test_acc > best_acc:
                best_acc = test_acc
                torch.save(model.state_dict(), "best.pt")
        """,
    ("absolute-tolerance-on-minibatch-loss", "after a minimum of steps"): """
        previous = 0.0
        for i, (x, y) in enumerate(loader):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            if i > 10 and abs(loss.item() - previous) <= 0.001:
                break
            previous = loss.item()
        """,
    ("tolerance-below-precision", "the limit is a constant of the module"): """
        TOLERANCE = 1e-12
        previous = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            if abs(previous - loss.item()) < TOLERANCE:
                break
        """,
    ("ema-never-updated", "evaluated in the end"): """
        from torch.optim.swa_utils import AveragedModel
        swa_model = AveragedModel(model)
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        print(swa_model(x))
        """,
    ("no-seed", "a script"): """
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        """,
    ("partial-seed", "NumPy draws unseeded"): """
        import numpy as np
        torch.manual_seed(0)
        order = np.random.permutation(256)
        """,
    ("backward-in-autocast", "an unscaled loss"): """
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.bfloat16):
                criterion(model(x), y).backward()
            optimizer.step()
        """,
    ("bf16-with-scaler", "switched on by hand"): """
        scaler = torch.cuda.amp.GradScaler(enabled=True)
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", torch.bfloat16):
                loss = criterion(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        """,
    ("patience-zero", "a class of the project"): """
        class EarlyStopper:
            def __init__(self, patience=3):
                self.patience = patience
        class EarlyStopping(EarlyStopper):
            pass
        stopper = EarlyStopping(patience=0)
        """,
}

HEALTHY = {
    ("no-grad-missing-eval", "all data at once under no_grad"): """
        x, y = data.tensors

        def train():
            model.train()
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()

        @torch.no_grad()
        def test():
            model.eval()
            return (model(x).argmax(1) == y).float().mean()

        for epoch in range(100):
            train()
            print(test())
        """,
    ("no-grad-missing-eval", "gradients of an evaluation"): """
        for epoch in range(100):
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            model.eval()
            x = data.tensors[0].clone().requires_grad_()
            scores = model(x)
            saliency, = torch.autograd.grad(scores.sum(), x)
        """,
    ("clip-without-unscale", "an optional scaler that unscales"): """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--amp", action="store_true")
        args = parser.parse_args()
        scaler = torch.amp.GradScaler("cuda", enabled=args.amp)
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16, enabled=args.amp):
                loss = criterion(model(x), y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
        """,
    ("zero-grad-missing", "a helper that gets the optimizer, outside of any loop"): """
        def update(loss, opt):
            loss.backward()
            opt.step()
        """,
    ("zero-grad-missing", "an environment that steps without arguments"): """
        def rollout(env, net):
            for step in range(10):
                loss = net(env.observe()).mean()
                loss.backward()
                env.step()
        """,
    ("zero-grad-missing", "a scheduler beside a helper that trains"): """
        def fit(net, batches, loss_scaler, opt, scheduler):
            for x, y in batches:
                loss = criterion(net(x), y)
                loss_scaler(loss, opt, parameters=net.parameters())
                scheduler.step()
        """,
    ("zero-grad-missing", "gradients set to None where one of two models may be wrapped"): """
        from apex import amp
        sparse, dense = [], []
        for p in model.parameters():
            (sparse if p.ndim == 2 else dense).append(p)
        opt_a, opt_b = optim.SGD(dense, lr=0.1), optim.SGD(sparse, lr=0.1)
        if use_apex:
            model, opt_b = amp.initialize(model, opt_b)
        for x, y in loader:
            for p in model.parameters():
                p.grad = None
            criterion(model(x), y).backward()
            opt_a.step()
        """,
    ("zero-grad-missing", "gradients cleared through the model"): """
        def fit(net, batches, opt):
            for x, y in batches:
                net.zero_grad()
                criterion(net(x), y).backward()
                opt.step()
        """,
    ("accumulation-not-normalised", "a summed loss"): """
        for i, (x, y) in enumerate(loader):
            F.cross_entropy(model(x), y, reduction="sum").backward()
            if i % 8 == 7:
                optimizer.step()
                optimizer.zero_grad()
        """,
    ("accumulation-not-normalised", "a delayed update of another optimizer"): """
        other = nn.Linear(8, 2)
        opt_other = optim.SGD(other.parameters(), lr=0.1)
        for i, (x, y) in enumerate(loader):
            criterion(model(x) + other(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            if i % 8 == 7:
                opt_other.step()
                opt_other.zero_grad()
        """,
    ("backward-under-no-grad", "a teacher without gradient"): """
        teacher = nn.Linear(8, 2)
        for x, y in loader:
            optimizer.zero_grad()
            with torch.no_grad():
                wanted = teacher(x)
            F.mse_loss(model(x), wanted).backward()
            optimizer.step()
        """,
    ("backward-under-no-grad", "a temperature learnt beside detached outputs"): """
        temperature = torch.zeros(1, requires_grad=True)
        optimizer = optim.Adam([temperature])
        for x, y in loader:
            optimizer.zero_grad()
            (temperature.exp() * model(x).detach()).mean().backward()
            optimizer.step()
        """,
    ("backward-under-no-grad", "enable_grad inside no_grad"): """
        with torch.no_grad():
            for x, y in loader:
                optimizer.zero_grad()
                with torch.enable_grad():
                    loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
        """,
    ("hidden-state-not-detached", "made anew for each batch"): """
        rnn = nn.GRU(8, 16)
        optimizer = optim.SGD(rnn.parameters(), lr=0.1)
        for x, y in loader:
            hidden = torch.zeros(1, 8, 16)
            optimizer.zero_grad()
            for step in x:
                out, hidden = rnn(step, hidden)
            out.mean().backward()
            optimizer.step()
        """,
    ("hidden-state-not-detached", "repackaged by a helper"): """
        def repackage(h):
            if isinstance(h, torch.Tensor):
                return h.detach()
            return tuple(repackage(v) for v in h)
        rnn = nn.LSTM(8, 16)
        optimizer = optim.SGD(rnn.parameters(), lr=0.1)
        hidden = (torch.zeros(1, 8, 16), torch.zeros(1, 8, 16))
        for x, y in loader:
            hidden = repackage(hidden)
            optimizer.zero_grad()
            out, hidden = rnn(x, hidden)
            out.mean().backward()
            optimizer.step()
        """,
    ("retain-graph-in-loop", "two losses share a graph"): """
        for x, y in loader:
            optimizer.zero_grad()
            out = model(x)
            criterion(out, y).backward(retain_graph=True)
            out.abs().mean().backward()
            optimizer.step()
        """,
    ("constant-batches", "an iterator made before the loop and renewed"): """
        batches = iter(loader)
        for step in range(100):
            try:
                x, y = next(batches)
            except StopIteration:
                batches = iter(loader)
                x, y = next(batches)
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        """,
    ("constant-batches", "renewed under a test"): """
        for step in range(100):
            if step % len(loader) == 0:
                batches = iter(loader)
            x, y = next(batches)
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        """,
    ("exhausted-iterator", "left with break and continued"): """
        batches = iter(loader)
        for chunk in range(10):
            for i, (x, y) in enumerate(loader):
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            for x, y in batches:
                criterion(model(x), y).backward()
                optimizer.step()
                if x.sum() > 0:
                    break
        """,
    ("debug-break", "a limit on steps"): """
        for epoch in range(3):
            for i, (x, y) in enumerate(loader):
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
                if i >= 100:
                    break
        """,
    ("zero-grad-inside-accumulation", "two optimizers take turns"): """
        other = optim.Adam(model.parameters())
        for i, (x, y) in enumerate(loader):
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            if i % 2 == 0:
                optimizer.step()
            else:
                other.step()
        """,
    ("loss-overwritten-in-loop", "collected and stacked"): """
        for x, y in loader:
            optimizer.zero_grad()
            losses = []
            for crop in x.unbind(1):
                losses.append(F.cross_entropy(model(crop), y))
            torch.stack(losses).mean().backward()
            optimizer.step()
        """,
    ("clip-threshold-odd", "infinity reads the norm"): """
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), float("inf"))
            optimizer.step()
        """,
    ("clip-other-parameters", "two clips that cover the optimizer"): """
        teacher = nn.Linear(8, 2)
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            nn.utils.clip_grad_norm_(teacher.parameters(), 1.0)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        """,
    ("uncalled-method", "a method that is passed on"): """
        step = optimizer.step
        step()
        """,
    ("discarded-result", "modules move in place"): 'model.to("cuda")\n',
    ("discarded-result", "a batch that may move in place"): """
        for batch in loader:
            batch.to("cuda")
        """,
    ("swallowed-step-error", "out of memory is told"): """
        for x, y in loader:
            try:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            except torch.cuda.OutOfMemoryError:
                continue
            except Exception as error:
                print(error)
        """,
    ("best-state-aliased", "a deep copy"): """
        for epoch in range(3):
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            state = copy.deepcopy(model.state_dict())
        torch.save(state, "best.pt")
        """,
    ("best-state-aliased", "saved at once"): """
        for epoch in range(3):
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            state = model.state_dict()
            torch.save(state, "last.pt")
        """,
    ("eval-missing", "train(False)"): """
        for epoch in range(3):
            model.train(True)
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            model.train(False)
            with torch.no_grad():
                for x, y in val_loader:
                    model(x)
        """,
    ("fp16-without-scaler", "bfloat16"): """
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        """,
    ("fp16-without-scaler", "a library's scaler in the other branch"): """
        from timm.utils import NativeScaler
        def train_one_epoch(scaler=None):
            for x, y in loader:
                optimizer.zero_grad()
                with torch.autocast("cuda"):
                    loss = criterion(model(x), y)
                if scaler is not None:
                    scaler(loss, optimizer, parameters=model.parameters())
                else:
                    loss.backward()
                    optimizer.step()
        train_one_epoch(NativeScaler())
        """,
    ("fp16-without-scaler", "a dtype from outside"): """
        import sys
        dtype = getattr(torch, sys.argv[1])
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=dtype):
                loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        """,
    ("half-model-training", "inference only"): """
        frozen = nn.Linear(8, 2).half()
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        """,
    ("bf16-with-scaler", "either precision"): """
        import sys
        dtype = torch.bfloat16 if len(sys.argv) > 1 else torch.float16
        scaler = torch.amp.GradScaler("cuda")
        for x, y in loader:
            with torch.autocast("cuda", dtype=dtype):
                loss = criterion(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        """,
    ("unscale-twice-or-late", "one unscale per optimizer"): """
        other = optim.Adam(nn.Linear(8, 2).parameters())
        scaler = torch.amp.GradScaler("cuda")
        for x, y in loader:
            optimizer.zero_grad()
            other.zero_grad()
            with torch.autocast("cuda"):
                loss = criterion(model(x), y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            scaler.unscale_(other)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.step(other)
            scaler.update()
        """,
    ("seed-in-train-loop", "a seed that depends on the epoch"): """
        for epoch in range(3):
            torch.manual_seed(epoch)
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
        """,
    ("monitor-direction", "the hardest example"): """
        worst = 0.0
        for x, y in loader:
            loss = float(criterion(model(x), y))
            if loss > worst:
                worst = loss
        """,
    ("monitor-direction", "a negated loss"): """
        best = float("-inf")
        for epoch in range(3):
            neg_loss = evaluate()
            if neg_loss > best:
                best = neg_loss
        """,
    ("patience-counter-never-reset", "set back in a method"): """
        class EarlyStopping:
            def __init__(self):
                self.best, self.bad, self.stop = 1e9, 0, False
            def reset(self):
                self.bad = 0
                self.bad = 0
            def check(self, val_loss):
                for _ in range(1):
                    if val_loss < self.best:
                        self.best = val_loss
                        self.reset()
                    else:
                        self.bad += 1
                        if self.bad > 3:
                            return True
        """,
    ("last-weights-kept", "a checkpoint per epoch"): """
        best, bad = 1e9, 0
        for epoch in range(30):
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            torch.save(model.state_dict(), f"{epoch}.pt")
            score = evaluate()
            if score < best:
                best = score
            else:
                bad += 1
                if bad == 5:
                    break
        """,
    ("stop-on-training-loss", "no validation score"): """
        best, bad = 1e9, 0
        for epoch in range(30):
            train_loss = fit()
            if train_loss < best:
                best = train_loss
                bad = 0
            else:
                bad += 1
                if bad == 5:
                    break
        """,
    ("test-set-selection", "no validation score"): """
        best_acc = 0
        for epoch in range(30):
            test_acc = evaluate()
            if test_acc > best_acc:
                best_acc = test_acc
                torch.save(model.state_dict(), "best.pt")
        """,
    ("absolute-tolerance-on-minibatch-loss", "between epochs"): """
        previous = 0.0
        for epoch in range(30):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            if abs(previous - loss.item()) < 1e-4:
                break
            previous = loss.item()
        """,
    ("tolerance-below-precision", "float64"): """
        previous = 0.0
        wide = nn.Linear(8, 2, dtype=torch.float64)
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(wide(x.double()), y)
            loss.backward()
            optimizer.step()
            if abs(previous - loss.item()) < 1e-12:
                break
        """,
    ("ema-never-updated", "handed to a helper"): """
        from helpers import Averager
        averaged = optim.swa_utils.AveragedModel(model)
        keeper = Averager(averaged)
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            keeper.update()
        """,
    ("model-shared-across-folds", "weights set back for each fold"): """
        start = copy.deepcopy(model.state_dict())
        for fold in range(5):
            model.load_state_dict(start)
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
        """,
    ("loss-term-without-gradient", "a target under no_grad and a sum for the log"): """
        for x, y in loader:
            optimizer.zero_grad()
            with torch.no_grad():
                wanted = model(x)
                seen = F.mse_loss(wanted, wanted)
            loss = F.cross_entropy(model(x), y) + F.mse_loss(model(x), wanted)
            total = loss + seen
            loss.backward()
            optimizer.step()
        """,
    ("loss-term-without-gradient", "a loss divided by its own size"): """
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            (loss / loss.detach()).backward()
            optimizer.step()
        """,
    ("graph-reused-after-step", "a fresh forward after the step"): """
        body, head = nn.Linear(8, 8), nn.Linear(8, 2)
        opt_body = optim.SGD(body.parameters(), lr=0.1)
        opt_head = optim.SGD(head.parameters(), lr=0.1)
        for x, y in loader:
            opt_head.zero_grad()
            criterion(head(body(x).detach()), y).backward()
            opt_head.step()
            opt_body.zero_grad()
            criterion(head(body(x)), y).backward()
            opt_body.step()
        """,
    ("gan-generator-graph-in-d", "the generator is cleared before its own backward"): """
        G, D = nn.Linear(8, 4), nn.Linear(4, 1)
        opt_G, opt_D = optim.Adam(G.parameters()), optim.Adam(D.parameters())
        for x, y in loader:
            opt_D.zero_grad()
            (F.softplus(D(G(x))) + F.softplus(-D(y))).mean().backward()
            opt_D.step()
            G.zero_grad()
            F.softplus(-D(G(x))).mean().backward()
            opt_G.step()
        """,
    ("gan-generator-graph-in-d", "one loss for two optimizers"): """
        E, D = nn.Linear(8, 4), nn.Linear(4, 8)
        opt_E, opt_D = optim.Adam(E.parameters()), optim.Adam(D.parameters())
        for x, y in loader:
            opt_E.zero_grad()
            opt_D.zero_grad()
            F.mse_loss(D(E(x)), x).backward()
            opt_E.step()
            opt_D.step()
        """,
    ("gan-generator-graph-in-d", "an encoder that feeds the generator"): """
        E, G = nn.Linear(8, 4), nn.Linear(4, 8)
        opt_E, opt_G = optim.Adam(E.parameters()), optim.Adam(G.parameters())
        for x, y in loader:
            opt_E.zero_grad()
            opt_G.zero_grad()
            F.mse_loss(G(E(x)), x).backward()
            opt_E.step()
            noise = torch.randn(len(x), 4)
            F.mse_loss(E(G(noise)), noise).backward()
            opt_G.step()
        """,
    ("call-forward", "the base class"): """
        class Net(nn.Linear):
            def forward(self, x):
                return super().forward(x)
        Net(8, 2)(data.tensors[0])
        """,
    ("patience-zero", "a scheduler that lowers the rate at once"): """
        scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        """,
}


def name(case: tuple[str, str]) -> str:
    return ": ".join(case)


@pytest.mark.parametrize("case", SICK, ids=name)
def test_a_fault_is_found_once(case: tuple[str, str]) -> None:
    assert len(found(case[0], SICK[case])) == 1


@pytest.mark.parametrize("case", HEALTHY, ids=name)
def test_healthy_code_is_silent(case: tuple[str, str]) -> None:
    assert found(case[0], HEALTHY[case]) == []


def test_new_iterators_over_a_shuffled_loader_are_only_noted() -> None:
    body = """
        for step in range(100):
            x, y = next(iter(loader))
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        """
    assert found("constant-batches", body) == [Severity.INFO]
