"""A small GPT-2 on the text of the standard library under Hugging Face's Trainer."""

import argparse
from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

LENGTH = 32


class Characters(Dataset):
    def __init__(self):
        text = Path(argparse.__file__).read_text()[:40_000]
        letters = sorted(set(text))
        codes = {letter: code for code, letter in enumerate(letters)}
        self.codes = torch.tensor([codes[letter] for letter in text])
        self.letters = len(letters)

    def __len__(self):
        return len(self.codes) // LENGTH

    def __getitem__(self, index):
        chunk = self.codes[index * LENGTH : (index + 1) * LENGTH]
        return {"input_ids": chunk, "labels": chunk}


class Printing(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            print(f"step {state.global_step} loss {logs['loss']} norm {logs['grad_norm']!r}")


def main():
    data = Characters()
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=data.letters, n_positions=LENGTH, n_embd=32, n_layer=2, n_head=2)
    )
    arguments = TrainingArguments(
        output_dir="trainer-out",
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        learning_rate=3e-3,
        warmup_steps=5,
        max_steps=40,
        logging_steps=1,
        save_steps=10,
        seed=0,
        use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(model, arguments, train_dataset=data, callbacks=[Printing()]).train()


if __name__ == "__main__":
    main()
