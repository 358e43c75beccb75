"""Ports for servers that cannot be told to choose one by themselves."""

import random
import socket

# Not that of a test that needs the same again and again.
_random = random.SystemRandom()
# Until this process ends. A UDP port is not in the way of the TCP port of that number, and no other process can have
# it: so nobody else who asks here, in another copy of the suite or as another user, is given the same.
_claims: list[socket.socket] = []


def free_port() -> int:
    """Below those that the kernel gives to whoever asks for any, so that it stays free until somebody listens, also
    while a server is started again."""
    while True:
        port = _random.randrange(20_000, 32_000)
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            socket.create_server(("", port)).close()
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port
