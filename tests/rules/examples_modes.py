"""Modes and graphs in the loops of real scripts: one fault each, and what only looks like one."""

from on_source import LOOP_HEAD
from on_source import loop_script as script

HEAD = LOOP_HEAD

SICK: dict[tuple[str, str], str] = {
    ("eval-before-training", "a sanity check of the untrained model"): """
        def check(net):
            net.eval()
            with torch.no_grad():
                return sum(F.cross_entropy(net(x), y).item() for x, y in val_loader)

        net = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.2), nn.Linear(16, 2))
        algorithm = optim.Adam(net.parameters(), lr=1e-3)
        print(check(net))
        for x, y in loader:
            algorithm.zero_grad()
            F.cross_entropy(net(x), y).backward()
            algorithm.step()
    """,
    ("eval-mode-in-training", "a checkpoint within the epoch"): """
        model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.2), nn.Linear(16, 2))
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        for epoch in range(5):
            model.train()
            for number, (x, y) in enumerate(loader):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                if (number + 1) % 100 == 0:
                    model.eval()
                    torch.save(model.state_dict(), f"{epoch}-{number}.pt")
    """,
}

HEALTHY = {
    ("missing-clipping", "a hand-written clip"): """
        class Tagger(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn, self.out = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 2)

            def forward(self, x):
                return self.out(self.rnn(x)[0])

        model = Tagger()
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        for x, y in sequences:
            optimizer.zero_grad()
            F.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
            for p in model.parameters():
                p.grad.clamp_(-1, 1)
            optimizer.step()
    """,
    ("missing-clipping", "a recurrent encoder that is not trained"): """
        class Reader(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn, self.out = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 2)
                for p in self.rnn.parameters():
                    p.requires_grad_(False)

            def forward(self, x):
                return self.out(self.rnn(x)[0][:, -1])

        model = Reader()
        optimizer = optim.Adam(model.out.parameters(), lr=1e-3)
        for x, y in sequences:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("eval-mode-in-training", "the mode restored at the top"): script("""
        def evaluate():
            model.eval()
            with torch.no_grad():
                return sum(criterion(model(x), y).item() for x, y in val_loader)

        for epoch in range(10):
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            print(evaluate())
    """),
    ("eval-mode-in-training", "restored by a context"): script("""
        from contextlib import contextmanager

        @contextmanager
        def evaluating(net):
            before = net.training
            net.eval()
            try:
                yield net
            finally:
                net.train(before)

        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            with evaluating(model), torch.no_grad():
                print(sum(criterion(model(x), y).item() for x, y in val_loader))
    """),
    ("eval-missing", "set by the caller"): script("""
        def evaluate(net):
            with torch.no_grad():
                return sum(criterion(net(x), y).item() for x, y in val_loader)

        for epoch in range(10):
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            model.eval()
            print(evaluate(model))
    """),
    ("eval-before-training", "a frozen teacher"): script("""
        teacher = copy.deepcopy(model)
        teacher.eval()
        for x, y in loader:
            optimizer.zero_grad()
            with torch.no_grad():
                target = teacher(x)
            F.mse_loss(model(x), target).backward()
            optimizer.step()
    """),
    ("eval-before-training", "batch statistics kept on purpose"): """
        def freeze_bn(net):
            for m in net.modules():
                if isinstance(m, nn.BatchNorm2d):
                    m.eval()

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(7200, 2))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        freeze_bn(model)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("backward-under-no-grad", "gradients enabled inside"): script("""
        with torch.no_grad():
            for x, y in loader:
                with torch.enable_grad():
                    optimizer.zero_grad()
                    criterion(model(x), y).backward()
                optimizer.step()
    """),
    ("no-grad-missing-eval", "a decorated function"): script("""
        @torch.no_grad()
        def evaluate():
            model.eval()
            return sum(criterion(model(x), y).item() for x, y in val_loader)

        print(evaluate())
    """),
    ("loss-graph-accumulated", "the sum is what is differentiated"): script("""
        for epoch in range(10):
            total = 0.0
            for x, y in loader:
                total = total + criterion(model(x), y)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
    """),
    ("loss-graph-accumulated", "as a number, by a meter"): script("""
        class Meter:
            def __init__(self):
                self.total = 0.0

            def update(self, value):
                self.total += value

        meter = Meter()
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            meter.update(loss.detach())
    """),
    ("hidden-state-not-detached", "repackaged by a function"): """
        def repackage(h):
            return tuple(v.detach() for v in h)

        class Words(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn, self.out = nn.LSTM(8, 16), nn.Linear(16, 8)

            def forward(self, x, h):
                x, h = self.rnn(x, h)
                return self.out(x), h

        model = Words()
        optimizer = optim.SGD(model.parameters(), lr=1.0)
        h = (torch.zeros(1, 4, 16), torch.zeros(1, 4, 16))
        for x, y in sequences:
            h = repackage(h)
            optimizer.zero_grad()
            z, h = model(x, h)
            F.mse_loss(z, y).backward()
            clip_grad_norm_(model.parameters(), 0.25)
            optimizer.step()
    """,
    ("hidden-state-not-detached", "made anew for every batch"): """
        cell, out = nn.GRUCell(8, 16), nn.Linear(16, 2)
        optimizer = optim.SGD([*cell.parameters(), *out.parameters()], lr=0.1)
        for x, y in sequences:
            h = torch.zeros(x.size(0), 16)
            for t in range(x.size(1)):
                h = cell(x[:, t], h)
            optimizer.zero_grad()
            F.cross_entropy(out(h), y).backward()
            clip_grad_norm_(cell.parameters(), 1.0)
            optimizer.step()
    """,
    ("retain-graph-in-loop", "two losses over one pass"): script("""
        for x, y in loader:
            optimizer.zero_grad()
            scores = model(x)
            criterion(scores, y).backward(retain_graph=True)
            (0.01 * scores.pow(2).mean()).backward()
            optimizer.step()
    """),
    ("best-state-aliased", "copied to the host"): script("""
        best, best_loss = None, float("inf")
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            val_loss = validate(model)
            if val_loss < best_loss:
                best_loss = val_loss
                best = {k: v.detach().clone() for k, v in model.state_dict().items()}
        model.load_state_dict(best)
    """),
    ("best-state-aliased", "saved at once"): script("""
        best_loss = float("inf")
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            val_loss = validate(model)
            if val_loss < best_loss:
                best_loss = val_loss
                state = model.state_dict()
                torch.save(state, "best.pt")
    """),
    ("gan-generator-graph-in-d", "the generator cleared before its own step"): """
        D, G = nn.Linear(8, 1), nn.Linear(4, 8)
        opt_d = optim.Adam(D.parameters(), lr=2e-4)
        opt_g = optim.Adam(G.parameters(), lr=2e-4)
        for x, _ in loader:
            z = torch.randn(x.size(0), 4)
            opt_d.zero_grad()
            (D(G(z)).mean() - D(x).mean()).backward()
            opt_d.step()
            opt_g.zero_grad()
            (-D(G(z)).mean()).backward()
            opt_g.step()
    """,
    ("constant-batches", "to look at a few images"): script("""
        images, labels = next(iter(loader))
        print(images.shape)
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
    """),
    ("exhausted-iterator", "made anew every epoch"): script("""
        for epoch in range(10):
            batches = iter(loader)
            for x, y in batches:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
    """),
    ("graph-reused-after-step", "a fresh pass between"): script("""
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            criterion(model(x + 0.1), y).backward()
            optimizer.step()
    """),
    ("model-shared-across-folds", "its first weights loaded again"): script("""
        first = copy.deepcopy(model.state_dict())
        from sklearn.model_selection import KFold
        for train_index, val_index in KFold(5).split(data.tensors[0]):
            model.load_state_dict(first)
            optimizer = optim.SGD(model.parameters(), lr=0.1)
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
    """),
    ("loss-overwritten-in-loop", "differentiated inside"): script("""
        for x, y in loader:
            optimizer.zero_grad()
            for part, target in zip(x.chunk(2), y.chunk(2)):
                loss = criterion(model(part), target)
                loss.backward()
            optimizer.step()
    """),
    ("loss-overwritten-in-loop", "stacked"): script("""
        for x, y in loader:
            optimizer.zero_grad()
            losses = []
            for part, target in zip(x.chunk(2), y.chunk(2)):
                part_loss = criterion(model(part), target)
                losses.append(part_loss)
            loss = torch.stack(losses).mean()
            loss.backward()
            optimizer.step()
    """),
    ("loss-term-without-gradient", "a sum for the log"): script("""
        running = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            running = running + loss.item()
    """),
    ("missing-clipping", "by the default of a trainer"): """
        from transformers import Trainer, TrainingArguments
        class Tagger(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn, self.out = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 2)

            def forward(self, x):
                return self.out(self.rnn(x)[0])

        Trainer(Tagger(), TrainingArguments("out"), train_dataset=data).train()
    """,
    ("eval-mode-in-training", "a backbone frozen by name"): """
        class Detector(nn.Module):
            def __init__(self):
                super().__init__()
                self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
                self.head = nn.Linear(8, 2)

            def freeze_backbone(self):
                self.backbone.train(False)

            def forward(self, x):
                return self.head(self.backbone(x).mean((2, 3)))

        model = Detector()
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        for epoch in range(10):
            model.train()
            model.freeze_backbone()
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
    """,
    ("eval-missing", "a copy that is in eval mode already"): script("""
        def evaluate(net):
            with torch.no_grad():
                return sum(criterion(net(x), y).item() for x, y in val_loader)

        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            print(evaluate(copy.deepcopy(model).eval()))
    """),
    ("constant-batches", "one batch on purpose"): script("""
        parser = argparse.ArgumentParser()
        parser.add_argument("--overfit-one-batch", action="store_true")
        args = parser.parse_args()
        fixed = next(iter(loader)) if args.overfit_one_batch else None
        for step in range(1000):
            x, y = fixed or next(batches)
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
    """),
    ("constant-batches", "an endless iterator"): script("""
        from itertools import cycle
        batches = cycle(loader)
        for step in range(1000):
            x, y = next(batches)
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
    """),
    ("hidden-state-not-detached", "carried without gradients"): """
        model = nn.LSTM(8, 16)
        state = None
        with torch.no_grad():
            for x, _ in sequences:
                out, state = model(x, state)
                print(out.mean())
    """,
    ("loss-graph-accumulated", "read as a number"): script("""
        for epoch in range(10):
            running = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                running += float(loss)
    """),
    ("eval-before-training", "and back"): script("""
        model.eval()
        with torch.no_grad():
            print(model(torch.zeros(1, 8)))
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
    """),
}
