"""Feeds ``convlint check --fix`` with what no one wrote, and looks for what must never happen.

    python bench/fuzz.py SOURCE... [--inputs 20000] [--seed 0] [--seconds N]

``SOURCE`` are directories of Python files to mutate. Kinds of input, in turn: bytes of a file
changed; lines of files mixed; programs put together from statements of training scripts; programs
of hypothesmith (when it is installed); notebooks, sound and mutilated; configurations. What counts
as a failure: an exception other than ``UserError``, a line that speaks of a fault of convlint, a
message of several lines, more than ten seconds, fixed source that does not parse, or fixes that
find something to do in what they have just fixed. A failing input is printed with its seed and
kind, and written to the directory given by ``--failures``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from convlint.documents import open_document
from convlint.engine import Outcome, check_paths
from convlint.errors import UserError
from convlint.fixes import fix_until_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LONGEST = 10
"""Seconds one input may take."""

MOST_LINES = 120
"""Of a file that is mutated: what is wrong is wrong in a short one, too."""

STATEMENTS = """\
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2), nn.Softmax(dim=1))
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
optimizer = torch.optim.Adam(model.parameters(), lr=1e3, weight_decay=5)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
criterion = nn.CrossEntropyLoss()
scaler = torch.amp.GradScaler("cuda")
loader = DataLoader(dataset, batch_size=1)
for epoch in range(10):
for x, y in loader:
with torch.no_grad():
with torch.autocast("cuda"):
if epoch % 2 == 0:
else:
while True:
try:
except Exception:
def train(model, loader, optimizer):
def forward(self, x):
class Net(nn.Module):
optimizer.zero_grad()
out = model(x)
loss = criterion(out, y)
loss = F.cross_entropy(F.softmax(model(x), dim=1), y)
loss = loss / 4
loss.backward()
scaler.scale(loss).backward()
torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
optimizer.step()
scaler.step(optimizer); scaler.update()
scheduler.step()
model.train()
model.eval()
total += loss
losses.append(loss)
x = x.cuda()
return loss
yield x
lambda *a, **k: [i async for i in a]
print(f"{loss:.3f} {epoch!r}")
# convlint: ignore[zero-grad-missing] because
# convlint: ignore
# noqa: LOP001
x = [*map(model, loader)]
match x:
del model
global model
train(model, loader, optimizer)
""".splitlines()

NAMES = ("zero-grad-missing", "LOP", "LOP001", "ALL", "loop", "no-such-rule", "", "*", "é")


class TooLongError(BaseException):
    """An input took more than ``LONGEST`` seconds."""


def files_of(sources: list[Path]) -> list[bytes]:
    """The first lines of every Python file below the directories."""
    return [
        b"".join(file.read_bytes().splitlines(keepends=True)[:MOST_LINES])
        for source in sources
        for file in sorted(source.rglob("*.py"))
        if file.is_file()
    ]


def changed_bytes(chance: random.Random, files: list[bytes]) -> bytes:
    """A file with some bytes changed, taken out, doubled or moved."""
    data = bytearray(chance.choice(files) or b"import torch\n")
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        at = chance.randrange(len(data) + 1)
        length = chance.choice((1, 1, 4, 40))
        kind = chance.randrange(5)
        if kind == 0:
            data[at : at + length] = bytes(chance.randrange(256) for _ in range(length))
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length]
        elif kind == 3:
            data[at:at] = chance.choice(
                (b"(", b")", b"\n", b"\t", b"\r", b"'''", b"\\", b"#", b":")
            )
        else:
            data[at:at] = chance.choice(files)[:length]
    return bytes(data)


def mixed_lines(chance: random.Random, files: list[bytes]) -> bytes:
    """Lines of two files, some of them moved, doubled or left out."""
    lines = chance.choice(files).splitlines(keepends=True)
    other = chance.choice(files).splitlines(keepends=True)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(lines) + 1)
        start = chance.randrange(len(other) + 1)
        piece = other[start : start + chance.randrange(1, 8)]
        lines[at : at + chance.choice((0, 0, 1, 3))] = piece
    return b"import torch\n" + b"".join(lines)


def put_together(chance: random.Random) -> str:
    """A program of ``STATEMENTS`` at any depth; most of them parse."""
    lines = ["import torch", "from torch import nn", "import torch.nn.functional as F"]
    depth = 0
    for _ in range(chance.randrange(1, 30)):
        statement = chance.choice(STATEMENTS)
        if statement in ("else:", "except Exception:") and chance.random() < 0.9:
            continue
        lines.append("    " * depth + statement)
        if statement.endswith(":"):
            depth += 1
            if statement == "match x:":
                lines.append("    " * depth + "case 1: pass")
            elif statement == "try:":
                lines += ["    " * depth + "pass", "    " * (depth - 1) + "except Exception:"]
        elif depth and chance.random() < 0.3:
            depth = chance.randrange(depth + 1)
    if lines[-1].endswith(":"):
        lines.append("    " * depth + "pass")
    end = chance.choice(("\n", "\n", "\n", "\r\n", "\r"))
    return end.join(lines) + chance.choice((end, "", end * 3))


def notebook(chance: random.Random, files: list[bytes]) -> bytes:
    """A notebook of made-up cells; one in three is mutilated."""
    cells = []
    for _ in range(chance.randrange(5)):
        source = put_together(chance)
        if chance.random() < 0.3:
            magic = chance.choice(("%time\n", "!ls\n", "%%bash\n", "%%time\n", "torch?\n", "%d\n"))
            source = magic + source
        written: object = source.splitlines(keepends=True) if chance.random() < 0.7 else source
        cell = {"cell_type": chance.choice(("code", "code", "markdown")), "metadata": {}}
        cells.append({**cell, chance.choice(("source",) * 9 + ("input",)): written})
    whole: dict[str, object] = {"cells": cells, "metadata": {}, "nbformat": 4}
    if chance.random() < 0.2:
        whole = {"worksheets": [{"cells": cells}], "nbformat": 3}
    data = json.dumps(whole, indent=chance.choice((None, 1, 2))).encode()
    return changed_bytes(chance, [data]) if chance.random() < 0.33 else data


def configuration(chance: random.Random) -> str:
    """Lines of a ``convlint.toml``, right and wrong."""

    def names() -> str:
        return json.dumps([chance.choice(NAMES) for _ in range(chance.randrange(3))])

    lines = [
        chance.choice(
            (
                f"select = {names()}",
                f"ignore = {names()}",
                f"extend-select = {names()}",
                f"exclude = {names()}",
                f"fail-on = '{chance.choice(('error', 'info', 'never', 'x'))}'",
                f"min-confidence = '{chance.choice(('low', 'high', '1'))}'",
                f"per-file-ignores = {{ 'a*' = {names()} }}",
                f"severity = {{ '{chance.choice(NAMES)}' = '{chance.choice(('error', 'x'))}' }}",
                f"rule-options = {{ '{chance.choice(NAMES)}' = {{ 'a' = 1 }} }}",
                f"extend = '{chance.choice(('convlint.toml', 'gone.toml', ''))}'",
                "unknown = 1",
                "select = 3",
                "[",
            )
        )
        for _ in range(chance.randrange(4))
    ]
    return "\n".join(lines) + "\n"


def examine(name: str, data: bytes) -> str:
    """Check and fix one file of the working directory; what went wrong, or nothing."""
    Path(name).write_bytes(data)

    def check(replaced: Mapping[str, bytes]) -> Outcome:
        return check_paths([name], replaced=replaced)

    try:
        run = fix_until_settled(check, lambda path: open_document(path, data), unsafe=True)
        said = [*run.outcome.problems, *run.outcome.faults, *run.notes]
        for text in map(str, said):
            if "fault of convlint" in text or "\n" in text:
                return text
        for path, text in run.changes.items():
            document = run.documents[path]
            if not document.parses(text):
                return f"the fixed source does not parse:\n{text}"
            after = document.encode(text)
            again = fix_until_settled(
                lambda replaced, after=after: check({name: after, **replaced}),  # type: ignore[misc]
                lambda path, after=after: open_document(path, after),  # type: ignore[misc]
                unsafe=True,
            )
            if again.changes:
                return f"a second --fix still changes the source:\n{again.changes}"
    except UserError as error:
        return str(error) if "\n" in str(error) else ""
    except TooLongError:
        return f"took more than {LONGEST} s"
    except Exception:
        return traceback.format_exc()
    return ""


def inputs(seed: int, files: list[bytes]) -> Iterator[tuple[str, str, bytes, str]]:
    """Endless inputs: kind, file name, bytes, configuration."""
    number = 0
    while True:
        chance = random.Random(f"{seed} {number}")
        kind = ("bytes", "lines", "program", "program", "notebook", "configuration")[number % 6]
        name, settings = "a.py", ""
        if kind == "bytes":
            data = changed_bytes(chance, files)
        elif kind == "lines":
            data = mixed_lines(chance, files)
        elif kind == "notebook":
            name, data = "a.ipynb", notebook(chance, files)
        else:
            data = put_together(chance).encode()
            settings = configuration(chance) if kind == "configuration" else ""
        yield kind, name, data, settings
        number += 1


def of_hypothesmith(count: int, look: Callable[[str, str, bytes, str], None]) -> None:
    """Hand ``count`` programs of hypothesmith's grammar to ``look``."""
    try:
        import hypothesmith
    except ImportError:
        print("hypothesmith is not installed: its programs are left out")
        return
    from hypothesis import HealthCheck, Phase, given, settings

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(hypothesmith.from_grammar())
    def each(program: str) -> None:
        look("hypothesmith", "a.py", b"import torch\n" + program.encode(errors="replace"), "")

    each()


def main() -> int:
    """Feed, count, print; 1 when anything failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument(
        "--hypothesmith", type=int, default=500, metavar="N", help="of its programs"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this long")
    parser.add_argument("--failures", type=Path, metavar="DIR", help="write failing inputs here")
    options = parser.parse_args()
    files = files_of([source.resolve() for source in options.sources])
    counted: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    slowest = 0.0
    started = time.monotonic()
    failures = options.failures and options.failures.resolve()

    def look(kind: str, name: str, data: bytes, settings: str) -> None:
        nonlocal slowest
        Path("convlint.toml").write_text(settings)
        # Processor time: other programs on the machine make no input slow.
        signal.setitimer(signal.ITIMER_PROF, LONGEST)
        before = time.process_time()
        wrong = examine(name, data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - before)
        counted[kind] += 1
        if wrong:
            failed[kind] += 1
            last = wrong.strip().splitlines()
            print(f"FAILED {kind} {counted[kind]}: {last[0]} ... {last[-1]}"[:400], flush=True)
            if failures:
                failures.mkdir(exist_ok=True)
                (failures / f"{kind}-{counted[kind]}-{name}").write_bytes(data)
                (failures / f"{kind}-{counted[kind]}.txt").write_text(settings + "\n" + wrong)

    def too_long(*_: object) -> None:
        raise TooLongError

    signal.signal(signal.SIGPROF, too_long)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        of_hypothesmith(options.hypothesmith, look)
        for entry in inputs(options.seed, files):
            if counted.total() >= options.inputs or time.monotonic() - started > options.seconds:
                break
            look(*entry)
        os.chdir("/")
    for kind, count in sorted(counted.items()):
        print(f"{kind:15}{count:7} inputs{failed[kind]:5} failed")
    print(f"{'all':15}{counted.total():7} inputs{failed.total():5} failed; slowest {slowest:.2f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
