"""How long a first look at the panel takes until its largest part is painted.

    python -m benchmarks.page_paint [http://127.0.0.1:3100] [--visits 20]

Beside `apex up --demo`, which says where its panel is. Each visit is made in headless
Chromium with a profile that has seen nothing before; APEX_PANEL_TOKEN opens a panel that
needs it. What is measured is the Largest Contentful Paint, from the request on.
"""

import argparse
import os
from statistics import median

from apex_pipeline.report.chromium import find_chromium, opened
from apex_pipeline.report.measured_lines import percentile, seconds


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:3100")
    parser.add_argument("--visits", type=int, default=20)
    given = parser.parse_args()
    token = os.environ.get("APEX_PANEL_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with opened(find_chromium()) as chromium:
        visits = [
            chromium.visit(given.url, expects="Cost per campaign", headers=headers)
            for _ in range(given.visits)
        ]
    paints = [each.largest_paint_seconds or float("inf") for each in visits]
    print(
        f"{given.visits} visits: largest paint after {seconds(median(paints))} at the "
        f"median, P95 {seconds(percentile(paints, 95))}, slowest {seconds(max(paints))}"
    )


if __name__ == "__main__":
    main()
