"""Describes a figure of the report; plots.py draws it, for the page and as a PNG."""

from dataclasses import dataclass, field

import numpy as np

# Okabe and Ito (2008), "Color universal design": distinct under every common kind of colour blindness
BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8A8F98",
)  # fmt: skip
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
DASHES = ("solid", "dashed", "dotted", "dashdot")


def colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def dash(i: int) -> str:
    """A second sign beside the colour, for print and for readers who cannot tell the colours."""
    return DASHES[i % len(DASHES)]


@dataclass(frozen=True)
class Series:
    """One curve or one set of points. The legend of a panel shows the first of several series with one name.

    Attributes:
        x, y: shape (n,); NaN is a gap.
        low, high: shape (n,), the edges of a line's band, or the ends of the points' intervals.
        faint: (x, y) of the unsmoothed values, drawn faintly behind the line.
        kind: "line", "area" (stacked on the areas before it), "points", "open points" or "crosses".
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: str
    kind: str = "line"
    dash: str = "solid"
    width: float = 2.2
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    faint: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def reach(self) -> tuple[float, float]:
        """The lowest and the highest drawn value."""
        drawn = [self.y, self.low, self.high, self.faint and self.faint[1]]
        values = np.concatenate([values for values in drawn if values is not None])
        return float(np.nanmin(values)), float(np.nanmax(values))


@dataclass
class Panel:
    """One pair of axes.

    Attributes:
        y_range: None lets the data decide.
        ticks: position -> text, where the x axis shows names instead of numbers.
        levels: (y, label) of horizontal lines, such as the value before training.
    """

    title: str
    x_label: str
    y_label: str
    series: list[Series]
    y_range: tuple[float, float] | None = None
    ticks: dict[float, str] = field(default_factory=dict)
    levels: list[tuple[float, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """Panels that belong together, under a heading that states the result.

    Attributes:
        key: its name in file names and in the page's addresses.
        says: what it draws, and how that was computed.
        not_shown: what nobody should conclude from it.
        wide: whether each panel takes the full width of the page.
    """

    key: str
    title: str
    panels: list[Panel]
    says: str
    not_shown: str
    wide: bool = False
