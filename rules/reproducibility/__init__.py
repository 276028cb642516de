"""Rules about runs that cannot be repeated."""
