"""Rules about layers: how they are wired, normalised, regularised and registered."""
