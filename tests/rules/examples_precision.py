"""Mixed precision in the styles of real scripts: one fault each, and what only looks like one."""

from on_source import LOOP_HEAD
from on_source import loop_script as script

HEAD = LOOP_HEAD

SICK: dict[tuple[str, str], str] = {
    ("scaled-loss-plain-step", "in a function that gets the scaler"): """
        def train(model, optimizer, scaler, batches):
            for x, y in batches:
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype=torch.float16):
                    loss = F.cross_entropy(model(x), y)
                scaled = scaler.scale(loss)
                scaled.backward()
                optimizer.step()
                scaler.update()

        net = nn.Linear(8, 2)
        train(net, optim.Adam(net.parameters()), torch.cuda.amp.GradScaler(), loader)
    """,
    ("scaler-update-missing", "a trainer with its own scaler"): """
        class Trainer:
            def __init__(self, model):
                self.model = model
                self.optimizer = optim.Adam(model.parameters(), lr=1e-3)
                self.scaler = torch.cuda.amp.GradScaler()

            def run_batch(self, x, y):
                self.optimizer.zero_grad()
                with torch.cuda.amp.autocast():
                    loss = F.cross_entropy(self.model(x), y)
                self.scaler.scale(loss).backward()
                self.scaler.step(self.optimizer)

            def fit(self):
                for x, y in loader:
                    self.run_batch(x, y)

        Trainer(nn.Linear(8, 2)).fit()
    """,
}

HEALTHY = {
    ("clip-without-unscale", "a scaler that is switched off"): script("""
        scaler = torch.amp.GradScaler("cuda", enabled=False)
        for x, y in loader:
            optimizer.zero_grad()
            scaler.scale(criterion(model(x), y)).backward()
            clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
    """),
    ("clip-without-unscale", "unscaled by a helper"): script("""
        def clip(optimizer, model):
            scaler.unscale_(optimizer)
            clip_grad_norm_(model.parameters(), 1.0)

        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16):
                loss = criterion(model(x), y)
            scaler.scale(loss).backward()
            clip(optimizer, model)
            scaler.step(optimizer)
            scaler.update()
    """),
    ("scaled-loss-plain-step", "one branch with, one without"): script("""
        parser = argparse.ArgumentParser()
        parser.add_argument("--amp", action="store_true")
        args = parser.parse_args()
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            if args.amp:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
            else:
                loss.backward()
                optimizer.step()
    """),
    ("scaler-update-missing", "after the scheduler"): script("""
        scheduler = optim.lr_scheduler.StepLR(optimizer, 1000)
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16):
                loss = criterion(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scheduler.step()
            scaler.update()
    """),
    ("fp16-without-scaler", "bfloat16 needs none"): script("""
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
    """),
    ("fp16-without-scaler", "a type from the configuration"): script("""
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=getattr(torch, config["dtype"])):
                loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
    """),
    ("fp16-without-scaler", "inference"): script("""
        model.eval()
        with torch.no_grad(), torch.autocast("cuda", dtype=torch.float16):
            for x, y in val_loader:
                print(criterion(model(x), y).item())
    """),
    ("backward-in-autocast", "after the context"): script("""
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16):
                loss = criterion(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    """),
    ("half-model-training", "only for inference"): script("""
        deployed = copy.deepcopy(model).half().eval()
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
    """),
    ("bce-under-autocast", "the loss in a region without"): """
        model = nn.Sequential(nn.Linear(8, 1), nn.Sigmoid())
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        scaler = torch.amp.GradScaler("cuda")
        criterion = nn.BCELoss()
        for x, y in loader:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16):
                p = model(x)
            loss = criterion(p.float().squeeze(1), y.float())
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    """,
    ("unscale-twice-or-late", "once per step, of two optimizers"): script("""
        other = nn.Linear(2, 2)
        second = optim.Adam(other.parameters(), lr=1e-3)
        for x, y in loader:
            optimizer.zero_grad()
            second.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16):
                loss = criterion(other(model(x)), y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            scaler.unscale_(second)
            clip_grad_norm_(model.parameters(), 1.0)
            clip_grad_norm_(other.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.step(second)
            scaler.update()
    """),
}
