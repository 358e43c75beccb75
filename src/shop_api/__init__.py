"""A commerce backend: users, sign-in and products over REST."""

__version__ = "0.1.0"
