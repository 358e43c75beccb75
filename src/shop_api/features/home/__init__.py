"""What a browser sees, all of it without the internet."""
