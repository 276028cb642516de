"""Rules about gradients that arrive late, compressed or rounded from other workers."""
