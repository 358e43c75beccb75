"""Draws the dashboard to a PNG without Grafana: its own queries, asked of a running Prometheus, in its own places.

    .venv-bench/bin/python deploy/grafana/picture.py http://localhost:9090 docs/dashboard.png --minutes 180

It knows what this dashboard uses (stat and timeseries panels, the units below), and stops at anything else rather
than draw something that Grafana would not show.
"""

import argparse
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullLocator
from PIL import Image

DASHBOARD = Path(__file__).parent / "dashboards" / "shop_api.json"
COLUMNS, UNIT_PX, DPI = 24, (58, 32), 100  # Grafana's grid has 24 columns
COLOURS = [  # as far apart as they go, since a panel may have ten lines
    *("#5aa454", "#e0a800", "#3b7dd8", "#e8743b", "#d64550", "#4aa8b5"),
    *("#9a6fc0", "#c06a9a", "#7c6a52", "#2f4b7c", "#8fb339", "#888888"),
]
STATES = {"green": "#3f8f3a", "orange": "#d97706", "red": "#c62f3b"}
INK, FAINT, EDGE = "#24292f", "#6b7280", "#d8dbe0"
Series = dict[str, list[float]]


class Data:
    """The answers of one Prometheus for one range of time, at the steps that Grafana would ask for."""

    def __init__(self, url: str, minutes: float, end: float, scrape: int) -> None:
        self._url, self._scrape = url, scrape
        # Grafana asks for a point a pixel at the most, never for more than were scraped.
        self.step = max(scrape, math.ceil(minutes * 60 / 450))
        self.end = end // self.step * self.step
        count = int(minutes * 60 // self.step)
        self.times = [self.end - self.step * back for back in range(count, -1, -1)]

    def filled_in(self, query: str) -> str:
        """With a value for each of Grafana's variables; their meaning is in its "Prometheus template variables"."""
        values = {
            "__rate_interval": f"{max(self.step + self._scrape, 4 * self._scrape)}s",
            "__interval": f"{self.step}s",
            "__range": f"{int(self.end - self.times[0])}s",
        }
        return re.sub(r"\$\{?(\w+)\}?", lambda found: values[found[1]], query)

    def series(self, target: Mapping[str, str]) -> Series:
        """By legend; NaN where there is nothing, which is drawn as a gap."""
        asked = {
            "query": self.filled_in(target["expr"]),
            "start": self.times[0],
            "end": self.end,
            "step": self.step,
        }
        with urlopen(f"{self._url}/api/v1/query_range?{urlencode(asked)}") as answer:  # noqa: S310  # the caller's URL
            result = json.load(answer)["data"]["result"]
        found = {}
        for one in result:
            values = {when: float(value) for when, value in one["values"]}
            found[legend(target["legendFormat"], one["metric"])] = [values.get(when, math.nan) for when in self.times]
        return dict(sorted(found.items()))


def legend(template: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), template)


def scaled(value: float, steps: Sequence[tuple[float, str]]) -> str:
    """In the largest of the units, each given with what one of it is worth, that is not larger than the value."""
    if not value:
        return "0"
    worth, name = next((step for step in steps if abs(value) >= step[0]), steps[-1])
    return f"{value / worth:.3g} {name}".rstrip()


UNITS: dict[str, Callable[[float], str]] = {
    "none": lambda value: f"{value:.4g}",
    "short": lambda value: scaled(value, [(1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")]),
    "percentunit": lambda value: f"{value * 100:.3g}%",
    "reqps": lambda value: f"{value:.3g} req/s",
    "ops": lambda value: f"{value:.3g} ops/s",
    "s": lambda value: scaled(value, [(1, "s"), (1e-3, "ms"), (1e-6, "µs")]),
    "bytes": lambda value: scaled(value, [(2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")]),
}


class Picture:
    def __init__(self, dashboard: Mapping[str, Any], data: Data) -> None:
        self._data, self._panels = data, dashboard["panels"]
        self._rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in self._panels) + 1
        self._size = COLUMNS * UNIT_PX[0], self._rows * UNIT_PX[1]
        self._figure = Figure(figsize=(self._size[0] / DPI, self._size[1] / DPI), dpi=DPI, facecolor="#f4f5f7")
        spoken = f"{clock(data.times[0])} to {clock(data.end)} UTC, a point every {data.step} s"
        self._write(12, 10, f"{dashboard['title']}    {spoken}", size=10, color=INK, weight="bold")
        self.empty: list[str] = []
        """Panels for which Prometheus has nothing."""

    def draw(self) -> None:
        for panel in self._panels:
            found: Series = {}
            for target in panel["targets"]:
                found |= self._data.series(target)
            if not any(not math.isnan(value) for values in found.values() for value in values):
                self.empty.append(panel["title"])
            {"stat": self._stat, "timeseries": self._timeseries}[panel["type"]](panel, found)

    def save(self, path: Path) -> None:
        self._figure.savefig(path, dpi=DPI)
        # Few colours are enough for lines, and make a third of the file.
        Image.open(path).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)

    def _stat(self, panel: Mapping[str, Any], found: Series) -> None:
        left, top, width, height = self._card(panel)
        defaults, options = panel["fieldConfig"]["defaults"], panel["options"]
        name, values = next(iter(found.items()), ("", []))
        last = next((value for value in reversed(values) if not math.isnan(value)), math.nan)
        shown = name if options["textMode"] == "name" else UNITS[defaults["unit"]](last)
        for mapping in defaults.get("mappings", ()):
            shown = mapping["options"].get(f"{last:g}", {"text": shown})["text"]
        steps = defaults["thresholds"]["steps"]
        colour = STATES[[step["color"] for step in steps if step["value"] is None or last >= step["value"]][-1]]
        shown = "No data" if math.isnan(last) else shown
        self._write(left + width / 2, top + height * 0.6, shown, size=22, color=colour, ha="center", weight="bold")
        if options["graphMode"] == "area" and values:
            axis = self._axis(left + 2, top + height * 0.72, width - 4, height * 0.26)
            axis.fill_between(self._data.times, values, color=colour, alpha=0.25, linewidth=0)
            axis.set_ylim(bottom=0)
            axis.axis("off")

    def _timeseries(self, panel: Mapping[str, Any], found: Series) -> None:
        left, top, width, height = self._card(panel)
        defaults = panel["fieldConfig"]["defaults"]
        custom = defaults["custom"]
        columns = max(1, int((width - 20) // (max(map(len, found), default=1) * 4.9 + 26)))
        below = 26 + 12.5 * math.ceil(len(found) / columns)
        axis = self._axis(left + 62, top + 28, width - 74, height - 28 - below)
        dates = [when / 86400 for when in self._data.times]  # the days since 1970 that matplotlib counts in
        floor = [0.0] * len(dates)
        for place, (name, values) in enumerate(found.items()):
            colour = COLOURS[place % len(COLOURS)]
            if custom["stacking"]["mode"] == "normal":
                before = floor
                floor = [low + (0 if math.isnan(value) else value) for low, value in zip(floor, values, strict=True)]
                values = floor
            else:
                before = [0.0] * len(dates)
            axis.plot(dates, values, color=colour, linewidth=1.1, label=name)
            if custom["fillOpacity"]:
                axis.fill_between(dates, before, values, color=colour, alpha=custom["fillOpacity"] / 100, linewidth=0)
        self._scales(axis, defaults, dates)
        if found:
            axis.legend(
                loc="upper left",
                bbox_to_anchor=(-54 / (width - 74), -20 / (height - 28 - below)),
                ncols=columns,
                fontsize=6.8,
                frameon=False,
                handlelength=1.1,
                handletextpad=0.5,
                columnspacing=1.2,
                labelspacing=0.25,
                borderaxespad=0,
                labelcolor=INK,
            )
        else:
            axis.text(0.5, 0.5, "No data", transform=axis.transAxes, ha="center", color=FAINT)

    def _scales(self, axis: Axes, defaults: Mapping[str, Any], dates: Sequence[float]) -> None:
        axis.set_xlim(dates[0], dates[-1])
        axis.xaxis.set_major_locator(AutoDateLocator(maxticks=7))
        axis.xaxis.set_major_formatter(DateFormatter("%H:%M"))
        if "scaleDistribution" in defaults["custom"]:
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(numticks=6))
            axis.yaxis.set_minor_locator(NullLocator())
        else:
            highest = max((value for line in axis.lines for value in line.get_ydata() if value == value), default=0)
            axis.set_ylim(0, defaults.get("max") or highest * 1.08 or 1)
            binary = defaults["unit"] == "bytes" and highest
            axis.yaxis.set_major_locator(
                MultipleLocator(2 ** math.ceil(math.log2(highest / 6))) if binary else MaxNLocator(5)
            )
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: UNITS[defaults["unit"]](value)))
        axis.tick_params(length=0, labelsize=7, labelcolor=FAINT)
        axis.grid(color=EDGE, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[:].set_visible(False)

    def _card(self, panel: Mapping[str, Any]) -> tuple[float, float, float, float]:
        """An empty panel with its title: left, top, width and height in pixels."""
        place = panel["gridPos"]
        left, top = place["x"] * UNIT_PX[0] + 4, (place["y"] + 1) * UNIT_PX[1] + 4
        width, height = place["w"] * UNIT_PX[0] - 8, place["h"] * UNIT_PX[1] - 8
        axis = self._axis(left, top, width, height)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_color(EDGE)
        self._write(left + 9, top + 6, panel["title"], size=8.5, color=INK, weight="bold")
        return left, top, width, height

    def _axis(self, left: float, top: float, width: float, height: float) -> Axes:
        across, down = self._size
        return self._figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))

    def _write(self, left: float, top: float, text: str, *, size: float, **look: Any) -> None:
        across, down = self._size
        # An axes of its own, since the figure's texts lie below all axes.
        axis = self._axis(0, 0, across, down)
        axis.axis("off")
        vertical = "center" if look.get("ha") == "center" else "top"
        axis.text(left / across, 1 - top / down, text, fontsize=size, va=vertical, **look)


def clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when))


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the dashboard from a running Prometheus.")
    parser.add_argument("prometheus", help="where it is, such as http://localhost:9090")
    parser.add_argument("png", type=Path)
    parser.add_argument("--minutes", type=float, default=180, help="how much to show")
    parser.add_argument("--end", type=float, default=time.time(), help="up to when, in seconds since 1970; else now")
    parser.add_argument("--scrape", type=int, default=15, help="scrape_interval of that Prometheus, in seconds")
    given = parser.parse_args()
    picture = Picture(
        json.loads(DASHBOARD.read_text()), Data(given.prometheus, given.minutes, given.end, given.scrape)
    )
    picture.draw()
    picture.save(given.png)
    print(f"{given.png}: {given.png.stat().st_size // 1000} kB; without data: {', '.join(picture.empty) or 'none'}")  # noqa: T201


if __name__ == "__main__":
    main()
