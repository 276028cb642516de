"""An LSTM over the rows of digits under Lightning, with checkpoints and a logger."""

import lightning
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Rows(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 32, batch_first=True)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(32, 10)

    def forward(self, rows):
        states, _ = self.lstm(rows)
        return self.head(self.drop(states[:, -1]))

    def training_step(self, batch, index):
        rows, labels = batch
        loss = F.cross_entropy(self(rows), labels)
        self.log("loss", loss)
        print(f"loss {loss.item():.10f}")
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=5e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)]


if __name__ == "__main__":
    lightning.seed_everything(0)
    images, labels = load_digits(return_X_y=True)
    rows = torch.tensor(images, dtype=torch.float32).view(-1, 8, 8) / 8 - 1
    loader = DataLoader(
        TensorDataset(rows, torch.tensor(labels)), batch_size=32, shuffle=True, drop_last=True
    )
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        gradient_clip_val=1.0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Rows(), loader)
