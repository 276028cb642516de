"""Learning rate schedules in the styles of real scripts: one fault each, and what only looks like
one."""

HEAD = """\
import argparse
import math
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.optim import lr_scheduler

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=40)
args = parser.parse_args()
"""

TRAIN = """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
"""

EPOCHS = """
        def train(epoch):
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()

        for epoch in range(args.epochs):
            train(epoch)
"""


def epochs(scheduler: str, after: str = "scheduler.step()") -> str:
    """A script whose epochs are a function, with this scheduler and what follows every epoch."""
    return f"{TRAIN}        {scheduler}\n{EPOCHS}            {after}\n"


SICK = {
    ("scheduler-never-stepped", "kept by a trainer that forgets it"): """
        class Trainer:
            def __init__(self, model, loader):
                self.model, self.loader = model, loader
                self.optimizer = optim.SGD(model.parameters(), lr=0.1)
                self.scheduler = lr_scheduler.StepLR(self.optimizer, 10)

            def fit(self):
                for epoch in range(40):
                    for x, y in self.loader:
                        self.optimizer.zero_grad()
                        F.cross_entropy(self.model(x), y).backward()
                        self.optimizer.step()

        Trainer(nn.Linear(8, 2), loader).fit()
    """,
    ("exponential-too-fast", "for as many epochs as asked"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.3)
        for epoch in range(config["epochs"]):
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            scheduler.step()
    """,
    ("gamma-grows", "milestones that raise the rate"): epochs(
        "scheduler = lr_scheduler.MultiStepLR(optimizer, [10, 20], gamma=10)"
    ),
    ("cosine-horizon", "a horizon from before the epochs were doubled"): epochs(
        "scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 20)"
    ),
    ("milestones-unreachable", "those of ImageNet in a short run"): epochs(
        "scheduler = lr_scheduler.MultiStepLR(optimizer, milestones=(60, 90), gamma=0.1)"
    ),
    ("plateau-on-train", "an average over the training set"): """
        def fit(model, loader, val_loader):
            optimizer = optim.SGD(model.parameters(), lr=0.1)
            scheduler = lr_scheduler.ReduceLROnPlateau(optimizer)
            for epoch in range(20):
                train_loss = 0.0
                for x, y in loader:
                    optimizer.zero_grad()
                    loss = F.cross_entropy(model(x), y)
                    loss.backward()
                    optimizer.step()
                    train_loss += loss.item()
                val_loss = 0.0
                with torch.no_grad():
                    for x, y in val_loader:
                        val_loss += F.cross_entropy(model(x), y).item()
                print(val_loss)
                scheduler.step(train_loss)

        fit(nn.Linear(8, 2), loader, val_loader)
    """,
    ("no-warmup-transformer", "a translation model of one's own"): """
        class Translator(nn.Module):
            def __init__(self, words=8000, width=256):
                super().__init__()
                self.embed = nn.Embedding(words, width)
                self.transformer = nn.Transformer(width, 8, batch_first=True)
                self.out = nn.Linear(width, words)

            def forward(self, source, target):
                return self.out(self.transformer(self.embed(source), self.embed(target)))

        model = Translator()
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        for source, target in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(source, target).flatten(0, 1), target.flatten()).backward()
            optimizer.step()
    """,
    ("lambda-late-binding", "one function per group, made by a builder"): """
        DECAYS = (0.9, 0.95, 0.99)

        def build(optimizer):
            functions = [lambda epoch: DECAYS[k] ** epoch for k in range(len(DECAYS))]
            return lr_scheduler.LambdaLR(optimizer, lr_lambda=functions)

        model = nn.ModuleList([nn.Linear(8, 8) for _ in DECAYS])
        optimizer = optim.SGD([{"params": m.parameters()} for m in model], lr=0.1)
        scheduler = build(optimizer)
    """,
    ("robbins-monro-violated", "a stream without an end"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        while True:
            x, y = next_batch()
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
            scheduler.step()
    """,
    ("resume-without-state", "the scaler left at its first scale"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda")
        checkpoint = torch.load("last.pt")
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16):
                loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    """,
}

HEALTHY = {
    ("scheduler-before-optimizer", "that of the other optimizer"): """
        model, critic = nn.Linear(8, 2), nn.Linear(2, 1)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        critic_optimizer = optim.SGD(critic.parameters(), lr=0.1)
        scheduler = lr_scheduler.StepLR(critic_optimizer, 100)
        for x, y in loader:
            critic_optimizer.zero_grad()
            critic(model(x).detach()).mean().backward()
            critic_optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("scheduler-before-optimizer", "the step of a scaler is one"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.StepLR(optimizer, 100)
        scaler = torch.amp.GradScaler("cuda")
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16):
                loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scheduler.step()
            scaler.update()
    """,
    ("scheduler-before-optimizer", "the number of the update is given"): """
        from timm.scheduler import CosineLRScheduler
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scheduler = CosineLRScheduler(optimizer, t_initial=40)
        for epoch in range(40):
            scheduler.step(epoch)
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
    """,
    ("scheduler-never-stepped", "returned to the caller"): """
        def build(model):
            optimizer = optim.SGD(model.parameters(), lr=0.1)
            scheduler = lr_scheduler.StepLR(optimizer, 10)
            return optimizer, scheduler
    """,
    ("scheduler-never-stepped", "prepared by accelerate"): """
        from accelerate import Accelerator
        accelerator = Accelerator()
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        schedule = lr_scheduler.StepLR(optimizer, 10)
        model, optimizer, stepped = accelerator.prepare(model, optimizer, schedule)
        for x, y in loader:
            optimizer.zero_grad()
            accelerator.backward(F.cross_entropy(model(x), y))
            optimizer.step()
            stepped.step()
    """,
    ("batch-schedule-per-epoch", "one cycle counted in epochs"): epochs(
        "scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=args.epochs)"
    ),
    ("epoch-schedule-per-batch", "guarded by the number of the step"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.StepLR(optimizer, 10)
        step = 0
        for epoch in range(40):
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                step += 1
                if step % 500 == 0:
                    scheduler.step()
    """,
    ("epoch-schedule-per-batch", "a fraction of the epoch"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=10)
        for epoch in range(40):
            for i, (x, y) in enumerate(loader):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                scheduler.step(epoch + i / len(loader))
    """,
    ("epoch-schedule-per-batch", "a horizon counted in steps"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=40 * len(loader))
        for epoch in range(40):
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                scheduler.step()
    """,
    ("lr-schedule-collapses", "the residual network's three drops"): epochs(
        "scheduler = lr_scheduler.MultiStepLR(optimizer, [10, 20, 30], gamma=0.1)"
    ),
    ("lr-schedule-collapses", "a cosine to zero at the end"): epochs(
        "scheduler = lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)"
    ),
    ("lr-schedule-collapses", "a polynomial"): epochs(
        "scheduler = lr_scheduler.PolynomialLR(optimizer, args.epochs, power=2.0)"
    ),
    ("exponential-too-fast", "digits"): epochs(
        "scheduler = lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)"
    ),
    ("gamma-grows", "halved every ten epochs"): epochs(
        "scheduler = lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)"
    ),
    ("cosine-horizon", "warm restarts"): epochs(
        "scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=10)"
    ),
    ("cosine-horizon", "what a warm-up leaves"): epochs(
        "scheduler = lr_scheduler.SequentialLR(optimizer, ["
        "lr_scheduler.LinearLR(optimizer, 0.01, total_iters=5), "
        "lr_scheduler.CosineAnnealingLR(optimizer, 35)], [5])"
    ),
    ("cosine-horizon", "epochs without those of the warm-up"): epochs(
        "WARMUP = 5; scheduler = lr_scheduler.CosineAnnealingLR(optimizer, args.epochs - WARMUP)",
        "if epoch >= WARMUP: scheduler.step()",
    ),
    ("milestones-unreachable", "a resumed run"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        checkpoint = torch.load("last.pt")
        start = checkpoint["epoch"]
        optimizer.load_state_dict(checkpoint["optimizer"])
        scheduler = lr_scheduler.MultiStepLR(optimizer, [60, 90], last_epoch=start)
        for epoch in range(start, start + 40):
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            scheduler.step()
    """,
    ("plateau-mode", "the accuracy with its sign turned"): epochs(
        "scheduler = lr_scheduler.ReduceLROnPlateau(optimizer)", "scheduler.step(-accuracy(model))"
    ),
    ("plateau-mode", "an error rate"): epochs(
        "scheduler = lr_scheduler.ReduceLROnPlateau(optimizer)",
        "val_acc = evaluate(model); scheduler.step(1 - val_acc)",
    ),
    ("plateau-on-train", "no validation"): epochs(
        "scheduler = lr_scheduler.ReduceLROnPlateau(optimizer)",
        "train_loss = measure(loader); scheduler.step(train_loss)",
    ),
    ("plateau-harsh", "a tenth after five epochs"): epochs(
        "scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=5)",
        "scheduler.step(validate(model))",
    ),
    ("no-warmup-transformer", "normalised first"): """
        layer = nn.TransformerEncoderLayer(256, 8, norm_first=True)
        model = nn.TransformerEncoder(layer, 6)
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
    """,
    ("no-warmup-transformer", "rectified"): """
        model = nn.TransformerEncoder(nn.TransformerEncoderLayer(256, 8), 6)
        optimizer = optim.RAdam(model.parameters(), lr=1e-3)
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
    """,
    ("no-warmup-transformer", "fine-tuned at a low rate"): """
        model = nn.TransformerEncoder(nn.TransformerEncoderLayer(256, 8), 6)
        model.load_state_dict(torch.load("pretrained.pt"))
        optimizer = optim.Adam(model.parameters(), lr=5e-5)
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
    """,
    ("scheduler-in-loop", "once per fold"): """
        for fold in range(5):
            model = nn.Linear(8, 2)
            optimizer = optim.SGD(model.parameters(), lr=0.1)
            scheduler = lr_scheduler.StepLR(optimizer, 10)
            for epoch in range(40):
                for x, y in loaders[fold]:
                    optimizer.zero_grad()
                    F.cross_entropy(model(x), y).backward()
                    optimizer.step()
                scheduler.step()
    """,
    ("scheduler-stale-optimizer", "both built again"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.StepLR(optimizer, 10)
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        scheduler = lr_scheduler.StepLR(optimizer, 10)
    """,
    ("double-lr-control", "a warm-up by hand"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 10000)
        for step, (x, y) in enumerate(loader):
            if step < 500:
                for group in optimizer.param_groups:
                    group["lr"] = 0.1 * (step + 1) / 500
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            if step >= 500:
                scheduler.step()
    """,
    ("resume-without-scheduler", "told the last epoch"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        checkpoint = torch.load("last.pt")
        optimizer.load_state_dict(checkpoint["optimizer"])
        scheduler = lr_scheduler.StepLR(optimizer, 10, last_epoch=checkpoint["epoch"])
    """,
    ("warmup-longer-than-run", "a tenth of the run"): """
        from transformers import get_linear_schedule_with_warmup
        model = nn.Linear(8, 2)
        optimizer = optim.AdamW(model.parameters(), lr=5e-5)
        TOTAL = 10000
        scheduler = get_linear_schedule_with_warmup(optimizer, TOTAL // 10, TOTAL)
    """,
    ("lambda-late-binding", "bound by a default"): """
        model = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        optimizer = optim.SGD([{"params": m.parameters()} for m in model], lr=0.1)
        decays = [0.9, 0.95, 0.99]
        functions = []
        for i in range(3):
            functions.append(lambda epoch, i=i: decays[i] ** epoch)
        scheduler = lr_scheduler.LambdaLR(optimizer, functions)
    """,
    ("robbins-monro-violated", "a cosine that ends with the run"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 200_000)
        for step in range(200_000):
            x, y = next_batch()
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
            scheduler.step()
    """,
    ("lr-compounding", "a factor that does not depend on the step"): epochs(
        "", "for group in optimizer.param_groups: group['lr'] *= 0.95"
    ),
    ("lr-compounding", "from a base rate"): epochs(
        "BASE = 0.1",
        "for group in optimizer.param_groups: group['lr'] = BASE * 0.95**epoch",
    ),
    ("resume-without-state", "all restored"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda")
        checkpoint = torch.load("last.pt")
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        scaler.load_state_dict(checkpoint["scaler"])
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16):
                loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    """,
    ("scheduler-before-optimizer", "counted in updates"): """
        from timm.scheduler import CosineLRScheduler
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scheduler = CosineLRScheduler(optimizer, t_initial=4000, t_in_epochs=False)
        updates = 0
        for epoch in range(40):
            for x, y in loader:
                scheduler.step_update(num_updates=updates)
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                updates += 1
    """,
    ("scheduler-in-loop", "before the epochs"): epochs(
        "scheduler = lr_scheduler.StepLR(optimizer, 10)"
    ),
}
