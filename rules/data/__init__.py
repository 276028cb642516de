"""Rules about what reaches the model: scale, order and preparation of the examples."""
