"""Our aims beside what was measured, and why where one is missed."""

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

_TABLE = Path(__file__).with_name("aims.md")
_NOT_MEASURED = "(not measured)"
_RATIOS = {
    "again_to_sdk": ("speed_ours_again", "speed_sdk_async"),
    "many_to_sdk": ("sizes_ours_latency_rate", "sizes_sdk_async_latency_rate"),
    "limits_two": ("limits_ours_2_rate", "limits_ours_1_rate"),
    "limits_four": ("limits_ours_4_rate", "limits_ours_1_rate"),
}


class _Shown(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return _NOT_MEASURED


def aims(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of aims.md with the figures of the benchmarks.

    Args:
        kept: What was measured, by the name of the benchmark.
    """
    figures: dict[str, float] = {
        f"{benchmark}_{name}".replace("-", "_"): value
        for benchmark, section in kept.items()
        for name, value in section.get("figures", {}).items()
    }
    shown = _Shown({name: _text(name, value) for name, value in figures.items()})
    for name, (ours, other) in _RATIOS.items():
        if ours in figures and figures.get(other):
            shown[name] = f"{figures[ours] / figures[other]:.2f}"
    refused = [figures.get(f"limits_ours_{users}_throttled") for users in (1, 2, 4)]
    if None not in refused:
        shown["refused"] = f"{sum(filter(None, refused)):.0f}"
    return Template(_TABLE.read_text()).substitute(shown)


def _text(name: str, value: float) -> str:
    if "times" in name:
        return f"{value:.2f}"
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}"
