"""Rules about training logs: what learning curves say once a run goes on or is over."""
