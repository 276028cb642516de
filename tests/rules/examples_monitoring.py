"""Stopping, monitoring and seeding in the styles of real scripts: what only looks like a fault."""

from on_source import LOOP_HEAD
from on_source import loop_script as script

HEAD = LOOP_HEAD

SICK: dict[tuple[str, str], str] = {}

HEALTHY = {
    ("no-seed", "seeded by a function"): script("""
        def set_seed(seed):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)

        set_seed(0)
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
    """),
    ("partial-seed", "both generators"): script("""
        np.random.seed(1)
        torch.manual_seed(1)
        noise = np.random.randn(8)
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x + torch.from_numpy(noise).float()), y).backward()
            optimizer.step()
    """),
    ("seed-in-train-loop", "a seed that depends on the epoch"): script("""
        for epoch in range(10):
            torch.manual_seed(epoch)
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
    """),
    ("stop-on-training-loss", "there is no validation"): script("""
        best, waited = float("inf"), 0
        for epoch in range(100):
            train_loss = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                train_loss += loss.item()
            if train_loss < best:
                best, waited = train_loss, 0
            else:
                waited += 1
                if waited > 5:
                    break
    """),
    ("absolute-tolerance-on-minibatch-loss", "means of epochs"): script("""
        previous = float("inf")
        for epoch in range(100):
            total = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                total += loss.item()
            mean = total / len(loader)
            if abs(previous - mean) < 1e-4:
                break
            previous = mean
    """),
    ("tolerance-below-precision", "in double precision"): """
        torch.set_default_dtype(torch.float64)
        w = torch.zeros(8, requires_grad=True)
        x, y = torch.randn(64, 8), torch.randn(64)
        optimizer = optim.SGD([w], lr=0.1)
        previous = float("inf")
        while True:
            optimizer.zero_grad()
            loss = F.mse_loss(x @ w, y)
            loss.backward()
            optimizer.step()
            if abs(previous - loss.item()) < 1e-12:
                break
            previous = loss.item()
    """,
    ("last-weights-kept", "the best checkpoint beside the last"): script("""
        best, waited = float("inf"), 0
        for epoch in range(100):
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            torch.save(model.state_dict(), "last.pt")
            val_loss = validate(model)
            if val_loss < best:
                best, waited = val_loss, 0
                torch.save(model.state_dict(), "best.pt")
            else:
                waited += 1
                if waited > 5:
                    break
    """),
    ("last-weights-kept", "an object that restores the best"): script("""
        class EarlyStopping:
            def __init__(self, patience):
                self.patience, self.best, self.waited, self.state = patience, float("inf"), 0, None

            def __call__(self, loss, net):
                if loss < self.best:
                    self.best, self.waited, self.state = loss, 0, copy.deepcopy(net.state_dict())
                else:
                    self.waited += 1
                return self.waited >= self.patience

        stopping = EarlyStopping(5)
        for epoch in range(100):
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            if stopping(validate(model), model):
                break
        model.load_state_dict(stopping.state)
    """),
    ("absolute-tolerance-on-minibatch-loss", "relative to the loss"): script("""
        previous = float("inf")
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            if abs(previous - loss.item()) < 1e-4 * abs(previous):
                break
            previous = loss.item()
    """),
}
