"""The figures as bars on a logarithmic scale."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Scenario, and who is shown: the label in the plot and the name of the figure.
_SHOWN: dict[str, tuple[str, dict[str, str]]] = {
    "hot-item": ("hot item", {"bare": "bare ASGI", "service": "service", "original": "original", "Eve": "Eve"}),
    "hot-list": ("hot list", {"bare": "bare ASGI", "service": "service", "original": "original", "Eve": "Eve"}),
    "not-modified": ("304", {"bare": "bare ASGI", "service": "service"}),
    "redis-hit": ("hit in Redis", {"service": "service", "original": "original"}),
    "cold-item": (
        "cold item",
        {"bare": "driver, Motor", "service": "service, cache off", "original": "original, uncached", "Eve": "Eve"},
    ),
    "cold-list": (
        "cold list",
        {"bare": "driver, Motor", "service": "service, cache off", "original": "original, uncached", "Eve": "Eve"},
    ),
    "put": ("PUT", {"bare": "driver, Motor", "service": "service", "original": "original"}),
    "sign-in": ("sign-in", {"service": "service", "original": "original"}),
}
_COLOURS = {"bare": "#9aa5b1", "service": "#1f6feb", "original": "#d97706", "Eve": "#7c3aed"}
_NAMES = {"bare": "bare ASGI app, or bare Motor", "service": "this service", "original": "the original's design"}


def write(results: Mapping[int, Mapping[str, Any]], path: Path) -> None:
    """One panel for each size of the catalogue."""
    mpl.rcParams["svg.hashsalt"] = "shop_api"  # the same figures make the same file
    mpl.rcParams["svg.fonttype"] = "none"
    panels = {size: found for size, of_size in results.items() if (found := _bars(of_size["scenarios"]))}
    figure = Figure(
        figsize=(10, 0.6 + sum(0.8 + 0.62 * len(found) for found in panels.values())), layout="constrained"
    )
    axes = figure.subplots(
        len(panels), 1, squeeze=False, height_ratios=[len(found) + 0.8 for found in panels.values()]
    )
    for axis, (size, found) in zip(axes[:, 0], panels.items(), strict=True):
        _draw(axis, f"{size:,} products", found)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    path.write_text("".join(line.rstrip() + "\n" for line in path.read_text().splitlines()))


def _bars(scenarios: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Requests per second by contender, by scenario."""
    bars = {}
    for name, (title, shown) in _SHOWN.items():
        figures = scenarios.get(name, {}).get("figures", {})
        if found := {label: figures[who]["median"] for label, who in shown.items() if who in figures}:
            bars[title] = found
    return bars


def _draw(axis: Any, title: str, found: Mapping[str, Mapping[str, float]]) -> None:
    height = 0.2
    for place, (label, colour) in enumerate(_COLOURS.items()):
        at = [row + (place - 1.5) * height for row, bars in enumerate(found.values()) if label in bars]
        values = [bars[label] for bars in found.values() if label in bars]
        drawn = axis.barh(at, values, height, color=colour, label=_NAMES.get(label, label))
        axis.bar_label(drawn, [f"{value:,.0f}" for value in values], padding=3, fontsize=7)
    axis.set_xscale("log")
    axis.set_xlim(left=1)
    axis.margins(x=0.08)
    axis.set_yticks(range(len(found)), list(found))
    axis.invert_yaxis()
    axis.set_title(f"{title}: requests per second, logarithmic", loc="left", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
