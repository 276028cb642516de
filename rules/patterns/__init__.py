"""Patterns over facts that several rules share: loops as paths, data flows, layers, schedules."""
