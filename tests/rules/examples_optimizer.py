"""Optimizers set up in the styles of real scripts: one fault each, and what only looks like one."""

HEAD = """\
import argparse
import copy
import itertools
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torch import optim
"""

LOOP = """
for x, y in loader:
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
"""

SICK = {
    ("optimizer-recreated", "in a method that the batch loop calls"): """
        class Trainer:
            def __init__(self, model, loader):
                self.model, self.loader = model, loader

            def update(self, x, y):
                optimizer = optim.Adam(self.model.parameters(), lr=1e-3)
                optimizer.zero_grad()
                loss = F.cross_entropy(self.model(x), y)
                loss.backward()
                optimizer.step()

            def fit(self):
                for x, y in self.loader:
                    self.update(x, y)

        Trainer(nn.Linear(8, 2), loader).fit()
    """,
    ("never-stepped", "the last line of the loop forgotten in a function"): """
        def train(model, loader, epochs):
            algorithm = optim.AdamW(model.parameters(), lr=1e-3)
            for epoch in range(epochs):
                for x, y in loader:
                    algorithm.zero_grad()
                    loss = F.cross_entropy(model(x), y)
                    loss.backward()

        train(nn.Linear(8, 2), loader, 3)
    """,
    ("amsgrad-hint", "short second moments of a sparse table"): """
        class Recommender(nn.Module):
            def __init__(self, users, items):
                super().__init__()
                self.users = nn.Embedding(users, 16, sparse=True)
                self.items = nn.Embedding(items, 16, sparse=True)

            def forward(self, u, i):
                return (self.users(u) * self.items(i)).sum(-1)

        model = Recommender(1000, 500)
        optimizer = optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.8))
    """,
    ("unused-suppression", "a rule whose name has a slip"): """
        model = nn.Linear(8, 2)
        optimizer = optim.Adam(model.parameters(), lr=1e-3)  # convlint: ignore[adaptive-lr-hihg]
    """,
}

HEALTHY = {
    ("unused-suppression", "a comment that names no rule"): """
        model = nn.Linear(8, 2)
        optimizer = optim.Adam(model.parameters(), lr=1e-3)  # convlint: ignore
    """,
    ("adaptive-lr-high", "the ceiling of a one-cycle policy"): """
        model = nn.Linear(8, 2)
        optimizer = optim.Adam(model.parameters(), lr=0.05)
        scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=1000)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            scheduler.step()
    """,
    ("adaptive-lr-high", "an image being optimised"): """
        image = torch.rand(1, 3, 64, 64, requires_grad=True)
        optimizer = optim.Adam([image], lr=0.05)
        for step in range(300):
            optimizer.zero_grad()
            style_loss(image).backward()
            optimizer.step()
    """,
    ("adaptive-lr-high", "in a test"): """
        # file: tests/test_training.py
        def test_one_step_changes_the_weights():
            model = nn.Linear(4, 1)
            optimizer = optim.Adam(model.parameters(), lr=0.5)
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()
    """,
    ("sgd-lr-high", "the word language model"): """
        class Words(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed, self.rnn = nn.Embedding(1000, 64), nn.LSTM(64, 64)
                self.out = nn.Linear(64, 1000)

            def forward(self, x):
                return self.out(self.rnn(self.embed(x))[0])

        model = Words()
        optimizer = optim.SGD(model.parameters(), lr=20)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x).view(-1, 1000), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            optimizer.step()
    """,
    ("sgd-lr-high", "a small fraction by a schedule"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=1.0)
        scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.1 * 0.99**step)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            scheduler.step()
    """,
    ("lr-negligible", "written into the groups before every step"): """
        model = nn.Linear(8, 2)
        optimizer = optim.AdamW(model.parameters(), lr=0)
        for step, (x, y) in enumerate(loader):
            for group in optimizer.param_groups:
                group["lr"] = schedule[step]
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("adam-l2-decay", "SGD"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    """,
    ("decay-on-norm-bias", "groups by the number of dimensions"): """
        model = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4), 6)
        decay = [p for p in model.parameters() if p.dim() >= 2]
        rest = [p for p in model.parameters() if p.dim() < 2]
        optimizer = optim.AdamW(
            [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=3e-4
        )
    """,
    ("weight-decay-extreme", "as a vision transformer is trained"): """
        parser = argparse.ArgumentParser()
        parser.add_argument("--weight-decay", type=float, default=0.3)
        args = parser.parse_args()
        model = torchvision.models.vit_b_16()
        optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=args.weight_decay)
    """,
    ("bad-eps", "the epsilon of Inception"): """
        model = torchvision.models.inception_v3()
        optimizer = optim.RMSprop(model.parameters(), lr=0.045, alpha=0.9, eps=1.0)
    """,
    ("bad-eps", "the default of Adagrad"): """
        model = nn.Linear(8, 2)
        optimizer = optim.Adagrad(model.parameters(), lr=0.01, eps=1e-10)
    """,
    ("bad-betas", "a critic without momentum"): """
        critic = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
        optimizer = optim.Adam(critic.parameters(), lr=1e-4, betas=(0.0, 0.9))
    """,
    ("bad-betas", "DCGAN"): """
        def build(net, args):
            return optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999))

        optimizer = build(nn.Linear(8, 2), None)
    """,
    ("momentum-extreme", "the momentum of a teacher"): """
        model = nn.Linear(8, 2)
        teacher = copy.deepcopy(model)
        MOMENTUM = 0.9995
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), teacher(x).detach()).backward()
            optimizer.step()
            with torch.no_grad():
                for p, q in zip(model.parameters(), teacher.parameters()):
                    q.mul_(MOMENTUM).add_(p, alpha=1 - MOMENTUM)
    """,
    ("sgd-no-momentum", "a linear model"): """
        model = nn.Linear(784, 10)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
    """,
    ("sgd-no-momentum", "a recurrent network"): """
        class Words(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn, self.out = nn.LSTM(64, 64), nn.Linear(64, 100)

            def forward(self, x):
                return self.out(self.rnn(x)[0])

        optimizer = optim.SGD(Words().parameters(), lr=1.0)
    """,
    ("optimizer-before-params-change", "built again after the new head"): """
        model = torchvision.models.resnet18(weights="DEFAULT")
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        model.fc = nn.Linear(512, 10)
        optimizer = optim.SGD(model.parameters(), lr=0.01)
    """,
    ("optimizer-before-params-change", "the new head added as a group"): """
        model = torchvision.models.resnet18(weights="DEFAULT")
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        model.fc = nn.Linear(512, 10)
        optimizer.add_param_group({"params": model.fc.parameters()})
    """,
    ("optimizer-before-params-change", "moved and wrapped: the same parameters"): """
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        model = model.to("cuda")
        model = nn.parallel.DistributedDataParallel(model)
    """,
    ("everything-frozen", "a fresh head after the freeze"): """
        def build(classes):
            model = torchvision.models.resnet18(weights="DEFAULT")
            for p in model.parameters():
                p.requires_grad = False
            model.fc = nn.Linear(512, classes)
            return model

        model = build(5)
        optimizer = optim.SGD(model.parameters(), lr=0.01)
    """,
    ("everything-frozen", "features under no_grad for a head of its own"): """
        backbone = torchvision.models.resnet18(weights="DEFAULT")
        for p in backbone.parameters():
            p.requires_grad = False
        head = nn.Linear(1000, 2)
        optimizer = optim.SGD(head.parameters(), lr=0.01)
        for x, y in loader:
            with torch.no_grad():
                features = backbone(x)
            optimizer.zero_grad()
            F.cross_entropy(head(features), y).backward()
            optimizer.step()
    """,
    ("everything-frozen", "adapters injected later"): """
        from peft import get_peft_model
        model = torchvision.models.resnet18(weights="DEFAULT")
        for p in model.parameters():
            p.requires_grad = False
        model = get_peft_model(model, config)
        optimizer = optim.SGD(model.parameters(), lr=0.01)
    """,
    ("optimizer-recreated", "once per fold"): """
        for fold in range(5):
            model = nn.Linear(8, 2)
            optimizer = optim.Adam(model.parameters(), lr=1e-3)
            for x, y in loaders[fold]:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
    """,
    ("optimizer-recreated", "the inner loop of meta-learning"): """
        for task in tasks:
            learner = copy.deepcopy(model)
            inner = optim.SGD(learner.parameters(), lr=0.01)
            for step in range(5):
                inner.zero_grad()
                F.cross_entropy(learner(task.x), task.y).backward()
                inner.step()
    """,
    ("optimizer-recreated", "at one step, to let the rest of the network learn"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for step, (x, y) in enumerate(loader):
            if step == 1000:
                optimizer = optim.SGD(model.parameters(), lr=0.01)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("exhausted-params", "a list read twice"): """
        model = nn.Linear(8, 2)
        params = list(filter(lambda p: p.requires_grad, model.parameters()))
        optimizer = optim.SGD(params, lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()
    """,
    ("finetune-lr-high", "a convolutional network with a new head"): """
        model = torchvision.models.resnet50(pretrained=True)
        model.fc = nn.Linear(2048, 10)
        optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    """,
    ("finetune-lr-high", "only the head of a frozen encoder"): """
        from transformers import AutoModelForSequenceClassification
        model = AutoModelForSequenceClassification.from_pretrained("bert-base-uncased")
        for p in model.base_model.parameters():
            p.requires_grad = False
        optimizer = optim.AdamW(model.classifier.parameters(), lr=1e-3)
    """,
    ("never-stepped", "handed to whoever steps it"): """
        def configure(model):
            optimizer = optim.Adam(model.parameters(), lr=1e-3)
            return optimizer

        model = nn.Linear(8, 2)
        engine.register(configure(model))
        for x, y in loader:
            F.cross_entropy(model(x), y).backward()
    """,
    ("lbfgs-minibatch", "style transfer on one image"): """
        image = torch.rand(1, 3, 64, 64, requires_grad=True)
        optimizer = optim.LBFGS([image], line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            loss = style_loss(image)
            loss.backward()
            return loss

        for step in range(50):
            optimizer.step(closure)
    """,
    ("wrong-model-params", "one optimizer for actor and critic"): """
        actor, critic = nn.Linear(4, 2), nn.Linear(4, 1)
        optimizer = optim.Adam(itertools.chain(actor.parameters(), critic.parameters()), lr=3e-4)
    """,
    ("requires-grad-typo", "the method that ends in an underscore"): """
        model = nn.Linear(8, 2)
        for p in model.parameters():
            p.requires_grad_(False)
            p.grad = None
    """,
    ("lr-in-wrong-slot", "rate and momentum in their places"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), 0.1, 0.9)
        second = optim.Adam(model.parameters(), 1e-3, (0.9, 0.95))
    """,
    ("amsgrad-hint", "asked for"): """
        model = nn.Embedding(1000, 16, sparse=False)
        optimizer = optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.8), amsgrad=True)
    """,
    ("parameters-not-flat", "chained"): """
        encoder, decoder = nn.Linear(8, 4), nn.Linear(4, 8)
        both = itertools.chain(encoder.parameters(), decoder.parameters())
        optimizer = optim.Adam(both, lr=1e-3)
    """,
    ("parameters-not-flat", "one group each"): """
        encoder, decoder = nn.Linear(8, 4), nn.Linear(4, 8)
        optimizer = optim.Adam(
            [{"params": encoder.parameters(), "lr": 1e-4}, {"params": decoder.parameters()}], lr=1e-3
        )
    """,
    ("adaptive-lr-high", "a rate that is searched for"): """
        from torch_lr_finder import LRFinder
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = optim.Adam(model.parameters(), lr=1e-7)
        LRFinder(model, optimizer, nn.CrossEntropyLoss()).range_test(loader, end_lr=10)
    """,
    ("finetune-lr-high", "T5 with Adafactor"): """
        from transformers import Adafactor, T5ForConditionalGeneration
        model = T5ForConditionalGeneration.from_pretrained("t5-small")
        optimizer = Adafactor(model.parameters(), lr=1e-3, relative_step=False)
    """,
    ("finetune-lr-high", "only the tokens of a prompt"): """
        from transformers import AutoModelForCausalLM
        model = AutoModelForCausalLM.from_pretrained("gpt2")
        for p in model.parameters():
            p.requires_grad_(False)
        prompt = nn.Parameter(torch.randn(20, 768) * 0.02)
        optimizer = optim.AdamW([prompt], lr=3e-3)
    """,
    ("wrong-model-params", "a shared body"): """
        body, G, D = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 1)
        opt_D = optim.Adam([*body.parameters(), *D.parameters()], lr=2e-4)
        opt_G = optim.Adam([*body.parameters(), *G.parameters()], lr=2e-4)
    """,
    ("optimizer-recreated", "test-time adaptation of one sample"): """
        for sample in samples:
            adapted = copy.deepcopy(model)
            optimizer = optim.SGD(adapted.parameters(), lr=1e-3)
            for step in range(10):
                optimizer.zero_grad()
                adapted(sample).pow(2).mean().backward()
                optimizer.step()
    """,
    ("lr-negligible", "a scheduler that owns it"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.0)
        scheduler = WarmupSchedule(optimizer, peak=0.1)
        for x, y in loader:
            scheduler.step()
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("adaptive-lr-high", "another kind of optimizer"): """
        from muon import Muon
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = Muon(model.parameters(), lr=0.02, weight_decay=0.1)
    """,
    ("sgd-no-momentum", "a script that teaches"): """
        model = nn.Linear(1, 1)
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        for epoch in range(100):
            optimizer.zero_grad()
            F.mse_loss(model(x), 2 * x + 1).backward()
            optimizer.step()
    """,
    ("exhausted-params", "asked for twice"): """
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    """,
}
