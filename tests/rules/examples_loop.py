"""The order of a step in the loops of real scripts: one fault each, and what only looks like one."""

from on_source import LOOP_HEAD
from on_source import loop_script as script

HEAD = LOOP_HEAD

SICK: dict[tuple[str, str], str] = {
    ("zero-grad-per-epoch", "cleared by the function of the epoch"): """
        def run_epoch(net, algorithm):
            net.zero_grad()
            for x, y in loader:
                F.cross_entropy(net(x), y).backward()
                algorithm.step()

        net = nn.Linear(8, 2)
        algorithm = optim.Adam(net.parameters(), lr=1e-3)
        for epoch in range(10):
            run_epoch(net, algorithm)
    """,
    ("backward-missing", "the loss only printed"): """
        def train(net, algorithm, epochs):
            for epoch in range(epochs):
                for x, y in loader:
                    algorithm.zero_grad()
                    loss = F.cross_entropy(net(x), y)
                    print(loss.item())
                    algorithm.step()

        net = nn.Linear(8, 2)
        train(net, optim.Adam(net.parameters(), lr=1e-3), 5)
    """,
    ("clip-before-backward", "in a method, between clear and gradient"): """
        class Trainer:
            def __init__(self, model):
                self.model = model
                self.optimizer = optim.Adam(model.parameters(), lr=1e-3)

            def clip(self):
                clip_grad_norm_(self.model.parameters(), 1.0)

            def fit(self):
                for x, y in loader:
                    loss = F.cross_entropy(self.model(x), y)
                    self.optimizer.zero_grad()
                    self.clip()
                    loss.backward()
                    self.optimizer.step()

        Trainer(nn.Linear(8, 2)).fit()
    """,
}

HEALTHY = {
    ("zero-grad-missing", "cleared one gradient at a time"): script("""
        def clear(parameters):
            for p in parameters:
                p.grad = None

        for x, y in loader:
            criterion(model(x), y).backward()
            optimizer.step()
            clear(model.parameters())
    """),
    ("zero-grad-missing", "gradients asked for"): script("""
        for x, y in loader:
            loss = criterion(model(x), y)
            for p, g in zip(model.parameters(), torch.autograd.grad(loss, model.parameters())):
                p.grad = g
            optimizer.step()
    """),
    ("zero-grad-missing", "in the closure"): """
        model = nn.Linear(8, 2)
        optimizer = optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
        x, y = data.tensors
        for step in range(20):
            def closure():
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)
    """,
    ("zero-grad-kills-gradient", "those of another model"): script("""
        critic = nn.Linear(2, 1)
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y) + critic(model(x)).mean()
            loss.backward()
            critic.zero_grad()
            optimizer.step()
    """),
    ("zero-grad-kills-gradient", "two phases of one batch"): script("""
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            (0.1 * model(x).pow(2).mean()).backward()
            optimizer.step()
    """),
    ("zero-grad-per-epoch", "accumulated over some batches"): script("""
        for epoch in range(10):
            optimizer.zero_grad()
            for i, (x, y) in enumerate(loader):
                (criterion(model(x), y) / 4).backward()
                if (i + 1) % 4 == 0:
                    optimizer.step()
                    optimizer.zero_grad()
    """),
    ("zero-grad-per-epoch", "the whole data set at once"): script("""
        for epoch in range(100):
            optimizer.zero_grad()
            for x, y in loader:
                (criterion(model(x), y) / len(loader)).backward()
            optimizer.step()
    """),
    ("accumulation-not-normalised", "the generator every fifth step"): """
        critic, generator = nn.Linear(8, 1), nn.Linear(4, 8)
        opt_c = optim.RMSprop(critic.parameters(), lr=5e-5)
        opt_g = optim.RMSprop(generator.parameters(), lr=5e-5)
        for i, (x, _) in enumerate(loader):
            z = torch.randn(x.size(0), 4)
            opt_c.zero_grad()
            (critic(generator(z).detach()).mean() - critic(x).mean()).backward()
            opt_c.step()
            if i % 5 == 0:
                opt_g.zero_grad()
                (-critic(generator(z)).mean()).backward()
                opt_g.step()
    """,
    ("accumulation-not-normalised", "accelerate divides"): """
        from accelerate import Accelerator
        accelerator = Accelerator(gradient_accumulation_steps=4)
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        model, optimizer, batches = accelerator.prepare(model, optimizer, loader)
        for x, y in batches:
            with accelerator.accumulate(model):
                accelerator.backward(F.cross_entropy(model(x), y))
                optimizer.step()
                optimizer.zero_grad()
    """,
    ("backward-missing", "evolution strategies write the gradient"): script("""
        for generation in range(100):
            for p in model.parameters():
                noise = torch.randn_like(p)
                p.grad = -fitness(model, noise) * noise
            optimizer.step()
    """),
    ("backward-missing", "inside the closure"): script("""
        for x, y in loader:
            def closure():
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)
    """),
    ("clip-after-step", "in the order of a trainer's methods"): script("""
        def update():
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        for x, y in loader:
            criterion(model(x), y).backward()
            update()
    """),
    ("clip-before-backward", "the weights of a critic"): """
        critic = nn.Linear(8, 1)
        optimizer = optim.RMSprop(critic.parameters(), lr=5e-5)
        for x, _ in loader:
            optimizer.zero_grad()
            for p in critic.parameters():
                p.data.clamp_(-0.01, 0.01)
            critic(x).mean().backward()
            optimizer.step()
    """,
    ("partial-accumulation-leak", "incomplete groups dropped"): script("""
        loader = DataLoader(data, batch_size=32, shuffle=True, drop_last=True)
        for epoch in range(10):
            optimizer.zero_grad()
            for i, (x, y) in enumerate(loader):
                (criterion(model(x), y) / 4).backward()
                if (i + 1) % 4 == 0:
                    optimizer.step()
                    optimizer.zero_grad()
    """),
    ("single-update", "a function of a library"): """
        def update(model, optimizer, x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss.item()
    """,
    ("swallowed-step-error", "only what runs out of memory"): script("""
        for x, y in loader:
            try:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
                continue
    """),
    ("debug-break", "after as many steps as asked"): script("""
        max_steps = 1000
        for step, (x, y) in enumerate(loader):
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            if step >= max_steps:
                break
    """),
    ("clip-threshold-odd", "only to read the norm"): script("""
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            norm = clip_grad_norm_(model.parameters(), float("inf"))
            print(norm.item())
            optimizer.step()
    """),
    ("discarded-result", "a module moves in place"): script("""
        model.to("cuda")
        model.cuda()
        for x, y in loader:
            x, y = x.to("cuda"), y.to("cuda")
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
    """),
    ("clip-other-parameters", "two clips that cover it together"): """
        encoder, head = nn.Linear(8, 16), nn.Linear(16, 2)
        optimizer = optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(head(encoder(x)), y).backward()
            clip_grad_norm_(encoder.parameters(), 1.0)
            clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
    """,
    ("zero-grad-inside-accumulation", "another optimizer's"): script("""
        other = nn.Linear(8, 2)
        second = optim.SGD(other.parameters(), lr=0.1)
        for i, (x, y) in enumerate(loader):
            second.zero_grad()
            criterion(other(x), y).backward()
            second.step()
            (criterion(model(x), y) / 4).backward()
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    """),
    ("zero-grad-missing", "once"): script("""
        x, y = next(iter(loader))
        criterion(model(x), y).backward()
        optimizer.step()
    """),
    ("zero-grad-missing", "managed by Lightning"): """
        import lightning as L

        class Classifier(L.LightningModule):
            def __init__(self):
                super().__init__()
                self.net = nn.Linear(8, 2)

            def training_step(self, batch, index):
                x, y = batch
                return F.cross_entropy(self.net(x), y)

            def configure_optimizers(self):
                return optim.Adam(self.parameters(), lr=1e-3)

        L.Trainer(max_epochs=3).fit(Classifier(), loader)
    """,
    ("zero-grad-missing", "distributed autograd"): script("""
        import torch.distributed.autograd as dist_autograd
        from torch.distributed.optim import DistributedOptimizer
        remote = DistributedOptimizer(optim.SGD, model.parameter_rrefs(), lr=0.05)
        for x, y in loader:
            with dist_autograd.context() as context_id:
                loss = criterion(model(x), y)
                dist_autograd.backward(context_id, [loss])
                remote.step(context_id)
    """),
    ("accumulation-not-normalised", "a sum by design"): script("""
        criterion = nn.CrossEntropyLoss(reduction="sum")
        for i, (x, y) in enumerate(loader):
            criterion(model(x), y).backward()
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    """),
    ("accumulation-not-normalised", "delayed updates of a policy"): """
        actor, critic = nn.Linear(8, 2), nn.Linear(10, 1)
        actor_opt = optim.Adam(actor.parameters(), lr=3e-4)
        critic_opt = optim.Adam(critic.parameters(), lr=3e-4)
        policy_delay = 2
        for step in range(10000):
            s, a, target = replay.sample(256)
            critic_opt.zero_grad()
            F.mse_loss(critic(torch.cat([s, a], 1)), target).backward()
            critic_opt.step()
            if step % policy_delay == 0:
                actor_opt.zero_grad()
                (-critic(torch.cat([s, actor(s)], 1)).mean()).backward()
                actor_opt.step()
    """,
    ("clip-before-backward", "the last thing of an iteration"): script("""
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    """),
    ("clip-after-step", "the weights, not the gradients"): script("""
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            for p in model.parameters():
                p.data.clamp_(-1, 1)
    """),
    ("uncalled-method", "handed over as a function"): script("""
        hooks = [optimizer.zero_grad, optimizer.step]
        run(hooks)
    """),
    ("backward-missing", "accelerate's backward"): """
        from accelerate import Accelerator
        accelerator = Accelerator()
        model = nn.Linear(8, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        model, optimizer, batches = accelerator.prepare(model, optimizer, loader)
        for x, y in batches:
            optimizer.zero_grad()
            accelerator.backward(F.cross_entropy(model(x), y))
            optimizer.step()
    """,
    ("backward-missing", "a scaler of one's own does it all"): script("""
        from timm.utils import NativeScaler
        loss_scaler = NativeScaler()
        for x, y in loader:
            optimizer.zero_grad()
            loss_scaler(criterion(model(x), y), optimizer, clip_grad=1.0, parameters=model.parameters())
    """),
    ("zero-grad-inside-accumulation", "both under the same condition"): script("""
        for i, (x, y) in enumerate(loader):
            (criterion(model(x), y) / 4).backward()
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    """),
}
