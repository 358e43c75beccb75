"""docs/benchmarks.md and its plot, from results.json and findings.md: `python report.py`, with matplotlib."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import plot
from goals import GOALS

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"

Results = Mapping[int, Mapping[str, Any]]
"""By size of the catalogue: its machine, and its scenarios by name."""


def main() -> None:
    found = json.loads((HERE / "results.json").read_text())["sizes"]
    results = {int(size): found[size] for size in sorted(found, key=int)}
    plot.write(results, DOCS / "benchmarks.svg")
    findings = (HERE / "findings.md").read_text().strip()
    parts = [_INTRODUCTION, _goals(results), _PLOT, _losses(results), findings, _figures(results), _setting(results)]
    (DOCS / "benchmarks.md").write_text("\n\n".join(parts) + "\n")


_INTRODUCTION = """\
# Benchmarks

This service beside a bare ASGI app, the design that it replaces (Flask, PyMongo and Redis under gunicorn, written
afresh in bench/original.py), Eve on the same database, and the bare drivers. One process each, on one machine
together with the database and the load. Written by `make bench` and `make bench-large`; bench/README.md tells how it
is measured.

Each figure is the median of several rounds, in which the contenders take turns in alternating order. Only ratios can
be compared between machines or days."""

_PLOT = """\
![Requests per second, on a logarithmic scale](benchmarks.svg)"""


def _goals(results: Results) -> str:
    rows = []
    for goal in GOALS:
        cells = []
        for of_size in results.values():
            ratio = goal.ratio(of_size["scenarios"])
            cells.append("" if ratio is None else f"{_number(ratio)} {'yes' if goal.met(ratio) else '**no**'}")
        if any(cells):
            rows.append([goal.what, goal.goal, *cells])
    sizes = [f"{size:,} products: met?" for size in results]
    return "## Goals\n\n" + _table(["what", "goal", *sizes], rows)


def _losses(results: Results) -> str:
    """All who beat the service at the same thing; a bare app and a bare driver do by their nature."""
    lines = [f"- {line}" for size, of_size in results.items() for line in _lost(size, of_size["scenarios"])]
    begins = "Where another service is faster than this one, besides the goals above that are not met:"
    return f"## Losses\n\n{begins}\n\n" + ("\n".join(lines) if lines else "None.")


def _lost(size: int, scenarios: Mapping[str, Any]) -> Iterator[str]:
    where = f"with {size:,} products"
    for one in scenarios.values():
        figures = {name: figure["median"] for name, figure in one["figures"].items()}
        if one["unit"] != "requests/s" or "service" not in {name.partition(",")[0] for name in figures}:
            continue
        best = max((name for name in figures if name.startswith("service")), key=figures.__getitem__)
        for name, value in figures.items():
            if not name.startswith(("service", "bare", "driver")) and value > figures[best]:
                times = value / figures[best]
                yield f"{one['title']}, {where}: {name} is {times:.2f} × as fast as our fastest ({best})."


def _figures(results: Results) -> str:
    scenarios: dict[str, dict[int, Any]] = {}
    for size, of_size in results.items():
        for name, one in of_size["scenarios"].items():
            scenarios.setdefault(name, {})[size] = one
    return "\n\n".join(["## Figures", *(_scenario(name, sizes) for name, sizes in scenarios.items())])


def _scenario(name: str, sizes: Mapping[int, Any]) -> str:
    last = list(sizes.values())[-1]
    contenders = list(dict.fromkeys(who for one in sizes.values() for who in one["figures"]))
    rows = [[who, *(_cell(one["figures"].get(who)) for one in sizes.values())] for who in contenders]
    titles = [last["unit"], *(f"{size:,} products" for size in sizes)]
    parts = [f"### {last['title']} (`{name}`)", _table(titles, rows), *_remarks(sizes)]
    return "\n\n".join(parts)


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    late = (
        f" (p99 {_number(figure['p99_ms'])} ms)" if figure.get("p99_ms", figure["median"]) != figure["median"] else ""
    )
    broken = f", {figure['broken']} broken" if "broken" in figure else ""
    return f"{_number(figure['median'])}{late}{broken}"


def _remarks(sizes: Mapping[int, Any]) -> Iterator[str]:
    notes = [f"{size:,} products: {note}." for size, one in sizes.items() for note in dict.fromkeys(one["notes"])]
    if notes:
        yield "\n".join(f"- {note}" for note in notes)
    answered = {}
    for one in sizes.values():
        for who, figure in one["figures"].items():
            by = figure.get("answered_by")
            if by and any("shop_api" in status for status in by) and who != "bare ASGI":
                answered[who] = by
    if answered:
        yield "Answered by: " + "; ".join(f"{who}: {_shares(by)}" for who, by in answered.items()) + "."


def _shares(by: Mapping[str, int]) -> str:
    total = sum(by.values())
    shares = [(status, times / total) for status, times in by.items()]
    return ", ".join(f"{share:.1%} `{status}`" for status, share in shares if share >= 0.001)


def _setting(results: Results) -> str:
    lines = ["## Machine and commands", ""]
    machines: dict[str, list[int]] = {}
    for size, of_size in results.items():
        machines.setdefault(json.dumps(of_size["machine"]), []).append(size)
    for machine, sizes in machines.items():
        if len(machines) > 1:
            lines += [f"With {' and '.join(f'{size:,}' for size in sizes)} products:", ""]
        lines += [*(f"- {name}: {value}" for name, value in json.loads(machine).items()), ""]
    rounds = sorted({one["rounds"] for of_size in results.values() for one in of_size["scenarios"].values()})
    days = sorted({one["measured"] for of_size in results.values() for one in of_size["scenarios"].values()})
    days = days if len(days) < 3 else [days[0], days[-1]]
    lines += [
        f"Rounds: {', '.join(map(str, rounds))}. Measured {' to '.join(days)}.",
        "",
        "    make bench          # 1,000 and 100,000 products",
        "    make bench-large    # 1,000,000",
    ]
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---", *("---:" for _ in titles[1:])], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    main()
