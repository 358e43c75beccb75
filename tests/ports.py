"""Ports for servers that cannot be told to choose one by themselves."""

import random
import socket

# Not that of a test that needs the same again and again.
_random = random.SystemRandom()


def free_port() -> int:
    """Below those that the kernel gives to whoever asks for any, so that it stays free until somebody listens, also
    while a server is started again."""
    while True:
        port = _random.randrange(20_000, 32_000)
        try:
            socket.create_server(("", port)).close()
        except OSError:
            continue
        return port
