"""What all pictures share: a figure without pyplot, a frame, and a file that is the same for the same run.

matplotlib is imported when one is drawn, and is an extra: `resilio-llm[plot]`. Without pyplot there is no global
state, no window, and no display is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from resilio.errors import ResilioError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INK", "SHADES", "PlotError", "check_plots", "empty", "frame", "save"]

SHADES: Final = ("#2a6f97", "#e09f3e", "#b23a48", "#2d6a4f", "#84a98c", "#5e2129")
INK: Final = "#343a40"


class PlotError(ResilioError):
    """A picture cannot be drawn here, and why."""


def check_plots(path: Path) -> None:
    """Find out before a long run, not after it, whether its picture can be drawn.

    Raises:
        PlotError: matplotlib is missing, or the file cannot be written there.
    """
    empty(1.0, 1.0)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise PlotError(f"a plot is a .png, .svg or .pdf file, not {path.name!r}")
    if not path.parent.is_dir():
        raise PlotError(f"there is no folder {path.parent} to put {path.name!r} into")


def frame(axes: Axes) -> None:
    """Give axes the look that all have."""
    axes.set_axisbelow(True)
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def empty(width: float, height: float) -> Figure:
    """An empty figure, in inches.

    Raises:
        PlotError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise PlotError("plots need matplotlib, which is not installed; run: pip install 'resilio-llm[plot]'") from exc
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write it.

    Raises:
        PlotError: The file cannot be written.
    """
    # Without the date and version that matplotlib would write: the same run gives the same file.
    metadata: dict[str, Any] = {"Software": None} if path.suffix.lower() == ".png" else {}
    try:
        figure.savefig(path, dpi=130, metadata=metadata)
    except OSError as exc:
        raise PlotError(f"cannot write {path}: {exc.strerror or exc}") from exc
