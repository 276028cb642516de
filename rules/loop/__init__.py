"""Rules about the training loop: what happens in which order, in which mode and how often."""
