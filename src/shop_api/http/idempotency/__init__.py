"""Requests with one `Idempotency-Key` take effect once, however often they are sent."""
