"""One effect for one `Idempotency-Key`, however often a request is sent."""
