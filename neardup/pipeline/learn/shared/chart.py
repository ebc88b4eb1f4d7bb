"""Line charts as SVG: no library, no script; colours and type come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 40
COLOURS = 6


@dataclass(frozen=True, slots=True)
class Line:
    """A named line through points, in the order of x."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over common axes.

    Attributes:
        low, high: of the vertical axis; the lines' own range, rounded, without them.
    """

    title: str
    x_label: str
    lines: Sequence[Line]
    low: float | None = None
    high: float | None = None

    @property
    def legend(self) -> list[tuple[int, str]]:
        """Number of the colour and name of each line."""
        return [(number % COLOURS, line.name) for number, line in enumerate(self.lines)]

    def svg(self) -> Markup:
        """Draw."""
        xs = [x for line in self.lines for x in line.x]
        ys = [y for line in self.lines for y in line.y]
        left, right = min(xs, default=0.0), max(xs, default=1.0)
        right = right if right > left else left + 1
        low = min(ys, default=0.0) if self.low is None else self.low
        upward = _ticks(low, max(ys, default=1.0) if self.high is None else self.high)

        def place(x: float, y: float) -> tuple[float, float]:
            along = (x - left) / (right - left)
            up = (y - upward[0]) / (upward[-1] - upward[0])
            return LEFT + along * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

        parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.title)}">']
        for y in upward:
            _, at = place(left, y)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{y:g}</text>')
        for x in _ticks(left, right):
            if not left <= x <= right:
                continue
            at, _ = place(x, upward[0])
            parts.append(f'<text class="tick" x="{at:.1f}" y="{HEIGHT - 22}" text-anchor="middle">{x:g}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f'<text class="axis" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(self.x_label)}</text>'
        )
        for number, line in enumerate(self.lines):
            points = [place(x, y) for x, y in zip(line.x, line.y, strict=True)]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline class="line c{number % COLOURS}" points="{path}"/>')
            if len(points) <= 40:
                parts += [
                    f'<circle class="dot c{number % COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points
                ]
        return Markup("".join(parts) + "</svg>")


def _ticks(low: float, high: float) -> list[float]:
    """Return four to eight round numbers from at most `low` to at least `high`."""
    span = (high - low) or max(abs(high), 1.0)
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span if high == low else high) / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]
