"""Asymmetric keys for access tokens: a folder of private keys, and how they are changed without an outage."""
