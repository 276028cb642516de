"""Rules about how a training watches itself: best scores, early stopping, tolerances."""
