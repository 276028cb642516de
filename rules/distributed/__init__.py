"""Rules about several processes: which data, seeds, parameters and statistics each has."""
