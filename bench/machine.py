"""What the figures were measured on, without names or paths of the machine."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from contenders import Contenders
from load import needed
from pymongo import MongoClient
from redis import Redis

_OURS = ("fastapi", "uvicorn", "uvloop", "httptools", "motor", "pymongo", "redis")
_THEIRS = ("flask", "gunicorn", "eve", "pymongo", "redis")


def described(contenders: Contenders, others: Path, embedded_mongo: bool) -> dict[str, Any]:
    mongo_url, redis_url, _ = contenders.settings.required()
    with MongoClient[dict[str, Any]](mongo_url) as client:
        mongo = "MongoDB " + client.server_info()["version"]
    if embedded_mongo:
        mongo = f"the embedded engine (secantusd-rs of secantusdb {version('secantusdb')}), which says it is {mongo}"
    with Redis.from_url(redis_url) as redis:
        info: Mapping[str, Any] = redis.info("server")
    found = "Valkey " + info["valkey_version"] if "valkey_version" in info else "Redis " + info["redis_version"]
    told = subprocess.run([needed(), "-v"], capture_output=True, text=True, check=False).stdout.split()
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "database": mongo,
        "cache": found,
        "load": " ".join(told[:2]) + ", one thread, on the same machine",
        "service": ", ".join(f"{name} {version(name)}" for name in _OURS),
        "others": ", ".join(_others(others)),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _others(python: Path) -> list[str]:
    ask = f"from importlib.metadata import version\nfor name in {_THEIRS!r}: print(name, version(name))"
    return subprocess.check_output([python, "-c", ask], text=True).splitlines()
