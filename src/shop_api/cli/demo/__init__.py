"""Something to look at in a new shop."""
