"""What the run would do next: schedules stepped ahead on copies."""
