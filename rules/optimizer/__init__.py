"""Rules about the optimizer: its hyperparameters and the parameters it steps."""
