"""Training projects with recurrent parts that clip their gradients somewhere, and the same without.

A line ``#: path`` begins a file.
"""

from contrasts import Contrast

MODEL = """#: model.py
import torch
from torch import nn

class Words(nn.Module):
    def __init__(self, vocabulary=5000, width=256, layers=2):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.rnn = nn.LSTM(width, width, layers, batch_first=True, dropout=0.2)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens):
        states, _ = self.rnn(self.embedding(tokens))
        return self.head(states)
"""

DATA = """#: data.py
import torch
from torch.utils.data import DataLoader, Dataset

class Text(Dataset):
    def __init__(self, tokens, length=64):
        self.tokens, self.length = tokens, length

    def __len__(self):
        return (len(self.tokens) - 1) // self.length

    def __getitem__(self, i):
        start = i * self.length
        piece = self.tokens[start : start + self.length + 1]
        return piece[:-1], piece[1:]

def make_loader(batch_size=32, length=64):
    tokens = torch.randint(0, 5000, (100_000,))
    return DataLoader(Text(tokens, length), batch_size=batch_size, shuffle=True)
"""

MAIN = """#: main.py
import argparse
import torch
from data import make_loader
from model import Words
from torch.nn import functional as F
{imports}

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = Words()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    loader = make_loader()
    for epoch in range(args.epochs):
        for tokens, targets in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(tokens).transpose(1, 2), targets)
            loss.backward()
            {clip}
            optimizer.step()

if __name__ == "__main__":
    main()
"""


def plain(clip: str, imports: str = "", more: str = "") -> str:
    """A language model in three files, with this between backward and step."""
    return MODEL + DATA + more + MAIN.format(clip=clip, imports=imports)


TRAINER = """#: trainer.py
import torch
from torch import nn

class Trainer:
    def __init__(self, model, loader, config):
        self.model, self.loader, self.config = model, loader, config
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr)
        self.scaler = torch.amp.GradScaler("cuda")

    def train(self):
        for epoch in range(self.config.epochs):
            self.run_epoch(epoch)

    def run_epoch(self, epoch):
        self.model.train()
        for tokens, targets in self.loader:
            loss = self.compute_loss(tokens, targets)
            self.update(loss)

    def compute_loss(self, tokens, targets):
        return self.criterion(self.model(tokens).flatten(0, 1), targets.flatten())

    def update(self, loss):
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.clip()
        self.optimizer.step()

    def clip(self):
        if self.config.max_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_norm)

#: config.py
from dataclasses import dataclass

@dataclass
class Config:
    lr: float = 1e-3
    epochs: int = 10
    max_norm: float = 1.0

#: main.py
from config import Config
from data import make_loader
from model import Words
from trainer import Trainer

Trainer(Words(), make_loader(), Config()).train()
"""

SCALED = TRAINER.replace(
    """        loss.backward()
        self.clip()
        self.optimizer.step()
""",
    """        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        self.clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
""",
)

YAML = """#: config.yaml
optimizer:
  lr: 0.001
  clip: 0.5
epochs: 10
#: main.py
import torch
import yaml
from data import make_loader
from model import Words
from torch.nn import functional as F
from torch.nn.utils import clip_grad_value_

with open("config.yaml") as file:
    config = yaml.safe_load(file)

model = Words()
optimizer = torch.optim.Adam(model.parameters(), lr=config["optimizer"]["lr"])
for epoch in range(config["epochs"]):
    for tokens, targets in make_loader():
        logits = model(tokens)
        loss = F.cross_entropy(logits.reshape(-1, logits.size(-1)), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        clip_grad_value_(model.parameters(), config["optimizer"]["clip"])
        optimizer.step()
"""

SEQ2SEQ = """#: seq2seq.py
import random
import torch
from torch import nn

class Encoder(nn.Module):
    def __init__(self, vocabulary=8000, width=256):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(vocabulary, width), nn.GRU(width, width)

    def forward(self, source):
        return self.rnn(self.embed(source))[1]

class Decoder(nn.Module):
    def __init__(self, vocabulary=8000, width=256):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(vocabulary, width), nn.GRU(width, width)
        self.out = nn.Linear(width, vocabulary)

    def forward(self, token, hidden):
        output, hidden = self.rnn(self.embed(token).unsqueeze(0), hidden)
        return self.out(output.squeeze(0)), hidden

class Translator(nn.Module):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, source, target, teacher_forcing=0.5):
        hidden, token, outputs = self.encoder(source), target[0], []
        for t in range(1, target.shape[0]):
            logits, hidden = self.decoder(token, hidden)
            outputs.append(logits)
            token = target[t] if random.random() < teacher_forcing else logits.argmax(1)
        return torch.stack(outputs)

#: main.py
import torch
from seq2seq import Decoder, Encoder, Translator
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

CLIP = 1
pairs = TensorDataset(torch.randint(2, 8000, (1000, 40)), torch.randint(2, 8000, (1000, 40)))
loader = DataLoader(pairs, batch_size=64, shuffle=True)
model = Translator(Encoder(), Decoder())
optimizer = optim.Adam(model.parameters())
criterion = nn.CrossEntropyLoss(ignore_index=0)

def train(model, loader, optimizer, criterion, clip):
    model.train()
    total = 0
    for source, target in loader:
        source, target = source.t(), target.t()
        optimizer.zero_grad()
        output = model(source, target)
        loss = criterion(output.view(-1, output.shape[-1]), target[1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        total += loss.item()
    return total / len(loader)

for epoch in range(10):
    print(train(model, loader, optimizer, criterion, CLIP))
"""

CELL = """#: main.py
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class Decoder(nn.Module):
    def __init__(self, inputs=16, width=128):
        super().__init__()
        self.cell, self.out, self.width = nn.LSTMCell(inputs, width), nn.Linear(width, 1), width

    def forward(self, series):
        h = series.new_zeros(series.size(0), self.width)
        c = series.new_zeros(series.size(0), self.width)
        outputs = []
        for x in series.unbind(1):
            h, c = self.cell(x, (h, c))
            outputs.append(self.out(h))
        return torch.cat(outputs, 1)

data = TensorDataset(torch.randn(512, 100, 16), torch.randn(512, 100))
loader = DataLoader(data, batch_size=32, shuffle=True)
model = Decoder()
optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
for epoch in range(20):
    for series, target in loader:
        loss = nn.functional.mse_loss(model(series), target)
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.grad.data.clamp_(-1, 1)
        optimizer.step()
"""

ACCELERATED = """#: main.py
import torch
from accelerate import Accelerator
from data import make_loader
from model import Words
from torch.nn import functional as F

def main():
    accelerator = Accelerator(gradient_accumulation_steps=4)
    model, loader = Words(), make_loader()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for epoch in range(3):
        for tokens, targets in loader:
            with accelerator.accumulate(model):
                loss = F.cross_entropy(model(tokens).transpose(1, 2), targets)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()

main()
"""

LIGHTNING = """#: main.py
import lightning as L
import torch
from data import make_loader
from model import Words
from torch.nn import functional as F

class Language(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.words = Words()

    def training_step(self, batch, batch_idx):
        tokens, targets = batch
        return F.cross_entropy(self.words(tokens).transpose(1, 2), targets)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)

trainer = L.Trainer(max_epochs=10, gradient_clip_val=1.0)
trainer.fit(Language(), make_loader())
"""

POLICY = """#: policy.py
import torch
from torch import nn
from torch.distributions import Categorical

class Policy(nn.Module):
    def __init__(self, observed=8, actions=4, width=64):
        super().__init__()
        self.encode = nn.Linear(observed, width)
        self.memory = nn.GRU(width, width)
        self.actor, self.critic = nn.Linear(width, actions), nn.Linear(width, 1)

    def forward(self, observed, state):
        hidden, state = self.memory(torch.relu(self.encode(observed)), state)
        return Categorical(logits=self.actor(hidden)), self.critic(hidden).squeeze(-1), state

#: ppo.py
import torch
from torch.nn.utils import clip_grad_norm_

class PPO:
    def __init__(self, policy, lr=3e-4, max_grad_norm=0.5):
        self.policy, self.max_grad_norm = policy, max_grad_norm
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=lr, eps=1e-5)

    def update(self, rollout, epochs=4):
        for epoch in range(epochs):
            for observed, state, action, old, advantage, returns in rollout.batches():
                chosen, value, _ = self.policy(observed, state)
                ratio = (chosen.log_prob(action) - old).exp()
                clipped = ratio.clamp(0.8, 1.2)
                loss = -torch.min(ratio * advantage, clipped * advantage).mean()
                loss = loss + 0.5 * (returns - value).pow(2).mean()
                self.optimizer.zero_grad()
                loss.backward()
                clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                self.optimizer.step()

#: main.py
import gymnasium as gym
from policy import Policy
from ppo import PPO
from rollouts import collect

env = gym.make("LunarLander-v3")
agent = PPO(Policy())
for iteration in range(1000):
    agent.update(collect(agent.policy, env))
"""

GAN = """#: networks.py
from torch import nn

class Generator(nn.Module):
    def __init__(self, noise=32, width=128, outputs=6):
        super().__init__()
        self.rnn, self.out = nn.LSTM(noise, width, batch_first=True), nn.Linear(width, outputs)

    def forward(self, z):
        return self.out(self.rnn(z)[0])

class Discriminator(nn.Module):
    def __init__(self, inputs=6, width=128):
        super().__init__()
        self.rnn, self.out = nn.LSTM(inputs, width, batch_first=True), nn.Linear(width, 1)

    def forward(self, series):
        return self.out(self.rnn(series)[0][:, -1])

#: main.py
import torch
from networks import Discriminator, Generator
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

loader = DataLoader(TensorDataset(torch.randn(1000, 120, 6)), batch_size=32, shuffle=True)
generator, discriminator = Generator(), Discriminator()
optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-4)
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=1e-4)
for epoch in range(100):
    for (real,) in loader:
        fake = generator(torch.randn(len(real), 120, 32))
        loss_d = F.softplus(discriminator(fake.detach())).mean()
        loss_d = loss_d + F.softplus(-discriminator(real)).mean()
        optimizer_d.zero_grad()
        loss_d.backward()
        torch.nn.utils.clip_grad_norm_(discriminator.parameters(), 1.0)
        optimizer_d.step()
        loss_g = F.softplus(-discriminator(fake)).mean()
        optimizer_g.zero_grad()
        loss_g.backward()
        torch.nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
        optimizer_g.step()
"""

HELPER = """#: optimisation.py
import torch

def apply_update(loss, model, optimizer, max_norm=1.0):
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return norm
"""

OWN_CLIP = """#: gradients.py
import torch

def clip_(parameters, limit):
    parameters = [p for p in parameters if p.grad is not None]
    norm = torch.sqrt(sum(p.grad.detach().pow(2).sum() for p in parameters))
    scale = limit / (norm + 1e-6)
    if scale < 1:
        for p in parameters:
            p.grad.detach().mul_(scale)
    return norm
"""

TRUNCATED = """#: main.py
import torch
from torch import nn

class Memory(nn.Module):
    def __init__(self, vocabulary=200, width=512):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.rnn, self.out = nn.RNN(width, width, nonlinearity="tanh"), nn.Linear(width, vocabulary)

    def forward(self, x, hidden):
        states, hidden = self.rnn(self.embed(x), hidden)
        return self.out(states), hidden

def repackage(hidden):
    return hidden.detach()

text = torch.randint(0, 200, (3501, 20))
model = Memory()
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
criterion = nn.CrossEntropyLoss()
for epoch in range(40):
    hidden = torch.zeros(1, 20, 512)
    for i in range(0, len(text) - 1, 35):
        x, y = text[i : i + 35], text[i + 1 : i + 36]
        hidden = repackage(hidden)
        model.zero_grad()
        logits, hidden = model(x, hidden)
        loss = criterion(logits.view(-1, 200), y.reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
"""

TAGGER = """#: tagger.py
from torch import nn

class Tagger(nn.Module):
    def __init__(self, words=20000, tags=17, width=200):
        super().__init__()
        self.embed = nn.Embedding(words, width, padding_idx=0)
        self.gru = nn.GRU(width, width, num_layers=2, bidirectional=True, batch_first=True)
        self.classify = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * width, tags))

    def forward(self, sentences):
        return self.classify(self.gru(self.embed(sentences))[0])

#: learner.py
import torch
from torch import nn

def fit(model, loader, epochs, lr=1e-3, clip=5.0):
    criterion = nn.CrossEntropyLoss(ignore_index=-100)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    for epoch in range(epochs):
        for sentences, tags in loader:
            optimizer.zero_grad()
            loss = criterion(model(sentences).permute(0, 2, 1), tags)
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()

#: main.py
import torch
from learner import fit
from tagger import Tagger
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.randint(1, 20000, (2000, 60)), torch.randint(0, 17, (2000, 60)))
fit(Tagger(), DataLoader(data, batch_size=64, shuffle=True), epochs=10)
"""

HOOKED = """#: main.py
import torch
from data import make_loader
from model import Words
from torch.nn import functional as F

model = Words()
for parameter in model.parameters():
    parameter.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(5):
    for tokens, targets in make_loader():
        optimizer.zero_grad()
        F.cross_entropy(model(tokens).transpose(1, 2), targets).backward()
        optimizer.step()
"""

SLUG = "missing-clipping"
IN_HELPER = (
    plain("pass", "from optimisation import apply_update", HELPER)
    .replace("            optimizer.zero_grad()\n", "", 1)
    .replace(
        "            loss.backward()\n            pass\n            optimizer.step()\n",
        "            apply_update(loss, model, optimizer, args.clip)\n",
    )
)

PROJECTS = [
    Contrast(
        SLUG,
        "a limit of the command line",
        plain("torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)"),
        ("torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)", "print(args.clip)"),
    ),
    Contrast(
        SLUG,
        "a function of another file that updates",
        IN_HELPER,
        (
            "    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n",
            "    norm = max_norm\n",
        ),
    ),
    Contrast(
        SLUG,
        "a function of another file that clips by hand",
        plain("clip_(model.parameters(), args.clip)", "from gradients import clip_", OWN_CLIP),
        ("            p.grad.detach().mul_(scale)\n", "            print(scale)\n"),
    ),
    Contrast(
        SLUG,
        "adaptively, by timm",
        plain(
            "adaptive_clip_grad(model.parameters(), args.clip)",
            "from timm.utils.agc import adaptive_clip_grad",
        ),
        ("adaptive_clip_grad(model.parameters(), args.clip)", "print(args.clip)"),
    ),
    Contrast(
        SLUG,
        "a method of the trainer, under a condition of the configuration",
        MODEL + DATA + TRAINER,
        ("        self.clip()\n", ""),
    ),
    Contrast(
        SLUG,
        "unscaled first",
        MODEL + DATA + SCALED,
        ("        self.scaler.unscale_(self.optimizer)\n        self.clip()\n", ""),
    ),
    Contrast(
        SLUG,
        "by value, with the limit of a file",
        MODEL + DATA + YAML,
        ('        clip_grad_value_(model.parameters(), config["optimizer"]["clip"])\n', ""),
    ),
    Contrast(
        SLUG,
        "a translator of two recurrent parts",
        SEQ2SEQ,
        ("        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)\n", ""),
    ),
    Contrast(
        SLUG,
        "a cell in a loop of one's own",
        CELL,
        ("            p.grad.data.clamp_(-1, 1)\n", "            print(p.shape)\n"),
    ),
    Contrast(
        SLUG,
        "accelerate, when gradients are whole",
        MODEL + DATA + ACCELERATED,
        (
            "                if accelerator.sync_gradients:\n"
            "                    accelerator.clip_grad_norm_(model.parameters(), 1.0)\n",
            "",
        ),
    ),
    Contrast(
        SLUG,
        "PPO with a memory",
        POLICY,
        ("                clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)\n", ""),
    ),
    Contrast(
        SLUG,
        "a GAN of two recurrent networks",
        GAN,
        ("        torch.nn.utils.clip_grad_norm_(generator.parameters(), 1.0)\n", ""),
    ),
    Contrast(SLUG, "by the trainer of Lightning", MODEL + DATA + LIGHTNING),
    Contrast(
        SLUG,
        "truncated back-propagation",
        TRUNCATED,
        ("        nn.utils.clip_grad_norm_(model.parameters(), 0.25)\n", ""),
    ),
    Contrast(
        SLUG,
        "a tagger in both directions, fitted by a function with a limit",
        TAGGER,
        (
            "            if clip is not None:\n"
            "                nn.utils.clip_grad_norm_(model.parameters(), clip)\n",
            "",
        ),
    ),
    Contrast(
        SLUG,
        "hooks that clamp",
        MODEL + DATA + HOOKED,
        (
            "    parameter.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))\n",
            "    print(parameter.shape)\n",
        ),
    ),
]
