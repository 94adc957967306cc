"""Calibration of the semantic cache: what a threshold of similarity is worth, measured on labelled pairs of questions.

`pairs` reads them, `measure` counts what would be served rightly and wrongly and recommends thresholds with bounds,
`saved` keeps what was found in a file that a configuration can name. An embedder whose thresholds nobody has measured
is held to 0.97; a calibration is what lets it go below.
"""

from __future__ import annotations

from resilio.cache.calibration.measure import Measurement, Recommendation, Row, measure
from resilio.cache.calibration.pairs import SHIPPED, Pair, read_pairs
from resilio.cache.calibration.saved import Calibrated, Calibration, load_calibration, save_calibration

__all__ = [
    "SHIPPED",
    "Calibrated",
    "Calibration",
    "Measurement",
    "Pair",
    "Recommendation",
    "Row",
    "load_calibration",
    "measure",
    "read_pairs",
    "save_calibration",
]
