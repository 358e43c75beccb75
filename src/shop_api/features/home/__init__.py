"""Pages for browsers, served without loading anything from the internet."""
