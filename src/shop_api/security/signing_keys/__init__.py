"""Asymmetric signing keys for access tokens: a folder of private keys, and rotation without downtime."""
