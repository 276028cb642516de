"""Rules about arithmetic that overflows, underflows or has no usable gradient."""
