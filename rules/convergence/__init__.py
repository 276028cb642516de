"""Rules about where the loss goes in a short run."""
