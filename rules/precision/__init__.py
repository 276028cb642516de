"""Rules about mixed precision: autocast, gradient scalers and half-precision weights."""
