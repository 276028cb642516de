"""Rules about the weights a run starts from."""
