"""Pictures of figures over time as SVG, in pure Python: the same figures, the same bytes.

`picture` has titles, axes and a description, `sparkline` is a line small enough to stand
in a table. They need no style sheet, no script and no font of the page, so they pass any
content security policy, within a page and as an image.
"""

from apex_pipeline.analytics.charts.bars import Bar, bars
from apex_pipeline.analytics.charts.chart_parts import (
    Band,
    ChartPanel,
    Curve,
    Size,
    Theme,
)
from apex_pipeline.analytics.charts.pictures import EMBEDDED, STANDALONE, picture
from apex_pipeline.analytics.charts.scales import Values
from apex_pipeline.analytics.charts.sparklines import sparkline

__all__ = [
    "EMBEDDED",
    "STANDALONE",
    "Band",
    "Bar",
    "ChartPanel",
    "Curve",
    "Size",
    "Theme",
    "Values",
    "bars",
    "picture",
    "sparkline",
]
