"""Demo data for a new shop."""
