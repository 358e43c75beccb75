"""Requests that no client library would send."""

import socket
from http.client import HTTPResponse

import httpx

from support.patience import PATIENCE


def ask(port: int, request: bytes) -> httpx.Response:
    """The first answer to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        answer = HTTPResponse(connection)
        answer.begin()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())
