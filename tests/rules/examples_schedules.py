"""Schedules that die long before the run ends, and the same ones that last: every class of
``torch.optim.lr_scheduler``, functions of the step, decay by hand, and those of timm and transformers.
"""

import textwrap

from contrasts import Contrast, healthy, sick
from examples_rates import HEAD as RATES_HEAD

HEAD = RATES_HEAD

FIT = """
model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 2))
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
{scheduler}
for epoch in range(60):
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    {after}
"""

TRAINER = """
class Trainer:
    def __init__(self, model, epochs={epochs}, gamma={gamma}):
        self.model, self.epochs = model, epochs
        self.optimizer = optim.AdamW(model.parameters(), lr=1e-3)
        self.scheduler = self.make_scheduler(gamma)

    def make_scheduler(self, gamma):
        return lr_scheduler.ExponentialLR(self.optimizer, gamma)

    def run_epoch(self):
        for x, y in loader:
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(x), y).backward()
            self.optimizer.step()

    def fit(self):
        for epoch in range(self.epochs):
            self.run_epoch()
            self.scheduler.step()

Trainer(nn.Linear(8, 2)).fit()
"""


def fit(scheduler: str, after: str = "scheduler.step()") -> str:
    """Sixty epochs under this schedule."""
    after = textwrap.indent(textwrap.dedent(after).strip(), "    ").strip()
    return FIT.format(scheduler=textwrap.dedent(scheduler).strip(), after=after)


def case(
    name: str, scheduler: str, lasts: str, dies: str, after: str = "scheduler.step()"
) -> Contrast:
    """A schedule that lasts with one argument and dies with another."""
    return Contrast("lr-schedule-collapses", name, fit(scheduler % lasts, after), (lasts, dies))


CASES = [
    case("StepLR", "scheduler = lr_scheduler.StepLR(optimizer, %s)", "20, 0.1", "5, 0.1"),
    case(
        "MultiStepLR",
        "scheduler = lr_scheduler.MultiStepLR(optimizer, %s)",
        "[30, 50]",
        "[5, 10, 15, 20]",
    ),
    case(
        "ExponentialLR",
        "scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=%s)",
        "0.95",
        "0.6",
    ),
    case(
        "MultiplicativeLR",
        "scheduler = lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: %s)",
        "0.95",
        "0.6",
    ),
    case(
        "PolynomialLR",
        "scheduler = lr_scheduler.PolynomialLR(optimizer, %s)",
        "total_iters=60",
        "total_iters=12",
    ),
    case(
        "LinearLR",
        "scheduler = lr_scheduler.LinearLR(optimizer, 1.0, 1e-6, %s)",
        "total_iters=60",
        "total_iters=12",
    ),
    case(
        "ConstantLR",
        "scheduler = lr_scheduler.ConstantLR(optimizer, factor=%s, total_iters=5)",
        "0.1",
        "0.0001",
    )._replace(without=None),
    case(
        "CosineAnnealingLR to zero at the end",
        "scheduler = lr_scheduler.CosineAnnealingLR(optimizer, %s)",
        "60",
        "60",
    )._replace(without=None),
    case(
        "CosineAnnealingWarmRestarts",
        "scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, %s)",
        "20",
        "20",
    )._replace(without=None),
    case(
        "OneCycleLR",
        "scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=%s)",
        "60",
        "60",
    )._replace(without=None),
    case(
        "CyclicLR",
        "scheduler = lr_scheduler.CyclicLR(optimizer, 0.001, 0.1, step_size_up=%s)",
        "5",
        "5",
    )._replace(without=None),
    case(
        "ReduceLROnPlateau depends on the run",
        "scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=%s)",
        "0.1",
        "0.1",
        "scheduler.step(float(epoch))",
    )._replace(without=None),
    case(
        "SequentialLR",
        """
        scheduler = lr_scheduler.SequentialLR(
            optimizer,
            [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5), lr_scheduler.ExponentialLR(optimizer, %s)],
            milestones=[5],
        )
        """,
        "0.95",
        "0.6",
    ),
    case(
        "ChainedScheduler",
        """
        scheduler = lr_scheduler.ChainedScheduler(
            [lr_scheduler.ConstantLR(optimizer, 0.5, 4), lr_scheduler.ExponentialLR(optimizer, %s)]
        )
        """,
        "0.95",
        "0.6",
    ),
    case(
        "LambdaLR of a lambda",
        "scheduler = lr_scheduler.LambdaLR(optimizer, lambda e: %s ** e)",
        "0.95",
        "0.6",
    ),
    case(
        "LambdaLR of a function",
        """
        def decay(epoch):
            if epoch < 5:
                return (epoch + 1) / 5
            return math.exp(-%s * (epoch - 5))

        scheduler = lr_scheduler.LambdaLR(optimizer, decay)
        """,
        "0.05",
        "0.5",
    ),
    case(
        "LambdaLR of a partial",
        """
        from functools import partial

        def decay(epoch, rate):
            return rate ** epoch

        scheduler = lr_scheduler.LambdaLR(optimizer, partial(decay, rate=%s))
        """,
        "0.95",
        "0.6",
    ),
    case(
        "LambdaLR of a closure",
        """
        def exponential(rate):
            def factor(epoch):
                return rate ** epoch

            return factor

        scheduler = lr_scheduler.LambdaLR(optimizer, exponential(%s))
        """,
        "0.95",
        "0.6",
    ),
    case(
        "decay by hand, a factor per epoch",
        "decay = %s",
        "0.95",
        "0.6",
        """
        for group in optimizer.param_groups:
            group["lr"] *= decay
        """,
    ),
    case(
        "decay by hand, from a base rate",
        "base, decay = 0.1, %s",
        "0.95",
        "0.6",
        """
        for group in optimizer.param_groups:
            group["lr"] = base * decay ** (epoch + 1)
        """,
    ),
    case(
        "timm's steps",
        """
        from timm.scheduler import StepLRScheduler

        scheduler = StepLRScheduler(optimizer, decay_t=%s, decay_rate=0.1)
        """,
        "25",
        "5",
        "scheduler.step(epoch + 1)",
    ),
    case(
        "transformers' line to zero",
        """
        from transformers import get_linear_schedule_with_warmup

        scheduler = get_linear_schedule_with_warmup(optimizer, %s)
        """,
        "3, 60",
        "3, 12",
    ),
    Contrast(
        "lr-schedule-collapses",
        "made by a method of a trainer",
        TRAINER.format(epochs=60, gamma=0.95),
        ("gamma=0.95", "gamma=0.5"),
    ),
    Contrast(
        "lr-schedule-collapses",
        "a default of the command line",
        """
parser = argparse.ArgumentParser()
parser.add_argument("--decay", type=float, default=0.95)
args = parser.parse_args()
"""
        + fit("scheduler = lr_scheduler.ExponentialLR(optimizer, args.decay)"),
        ("default=0.95", "default=0.5"),
    ),
]

SICK = sick(CASES)
HEALTHY = healthy(CASES)
