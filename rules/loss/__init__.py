"""Rules about the loss function and what is fed into it."""
