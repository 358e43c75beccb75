"""Drives a server with wrk, always with one thread, and reads what wrk found."""

import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

_SCRIPTS = Path(__file__).parent / "wrk"
# Numbers in the bodies of changes, in steps that no run uses up.
_NUMBERS = count(1_000_000, 1_000_000)


class LoadError(Exception):
    """The figures would mean nothing: what was asked for did not come back."""


@dataclass(frozen=True)
class Load:
    """What is asked, and how."""

    requests: Sequence[str]
    """Paths, each with its body behind a tab if it has one, in turn; wrk/requests.lua tells how a body changes."""
    connections: int
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One measured value, with the latencies behind it where there are any."""

    value: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    requests: int = 0
    broken: int = 0
    """Connections that failed or waited too long."""


def needed() -> str:
    """The path of wrk; says what to install where it is missing."""
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit("the benchmarks need wrk: apt install wrk, brew install wrk, or https://github.com/wg/wrk")
    return found


def run(url: str, load: Load, seconds: float) -> Sample:
    """Requests per second."""
    figures, _ = _wrk(url, load, seconds, watching=False)
    if figures["refused"]:
        raise LoadError(f"{figures['refused']} of {figures['requests']} answers of {url}{load.requests[0]} failed")
    if not figures["requests"]:
        raise LoadError(f"no answer from {url}{load.requests[0]}")
    return Sample(
        figures["requests"] / figures["seconds"],
        figures["p50_ms"],
        figures["p99_ms"],
        int(figures["requests"]),
        int(figures["broken"]),
    )


def answered_by(url: str, load: Load, seconds: float) -> tuple[Counter[str], int]:
    """Who answered the same load, by status and Cache-Status, and how many requests were sent for it."""
    figures, seen = _wrk(url, load, seconds, watching=True)
    return seen, int(figures["requests"])


def _wrk(url: str, load: Load, seconds: float, *, watching: bool) -> tuple[dict[str, float], Counter[str]]:
    one = load.requests[0] if len(load.requests) == 1 and "\t" not in load.requests[0] else None
    parts = [*([] if one else ["requests"]), *(["answered_by"] if watching else []), "summary"]
    with tempfile.TemporaryDirectory() as folder:
        script, requests = Path(folder, "script.lua"), Path(folder, "requests")
        lines = [f'wrk.method = "{load.method}"', *((_SCRIPTS / f"{part}.lua").read_text() for part in parts)]
        script.write_text("\n".join(lines))
        requests.write_text("\n".join(load.requests) + "\n")
        headers = [word for name, value in load.headers.items() for word in ("-H", f"{name}: {value}")]
        command = [
            *(needed(), "-t", "1", "-c", str(load.connections), "-d", f"{max(1, round(seconds))}s"),
            *("--timeout", "30s", "-s", str(script), *headers, url + (one or "/")),
            *("--", str(requests), str(next(_NUMBERS))),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"^FIGURES (.*)$", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise LoadError(f"wrk failed: {done.stdout}{done.stderr}")
    seen: Counter[str] = Counter()
    for line in done.stdout[found.end() :].splitlines():
        name, tab, times = line.partition("\t")
        if tab:
            seen[name] += int(times)
    return json.loads(found[1]), seen
