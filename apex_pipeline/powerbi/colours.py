"""The report's colours, those of the panel in daylight, and how well they can be read."""

from typing import Any

PAGE = "#f3f5f9"
CARD = "#ffffff"
INK = "#101828"
MUTED = "#526077"
LINE = "#dde2ec"
ACCENT = "#2f4bd8"
GOOD, BAD, WARN = "#0b6b3a", "#b3261e", "#8a4b00"
SERIES = (ACCENT, "#b45309", "#64748b", "#0b6b3a", "#7c3aed", "#0e7490")

TEXT_CONTRAST, SHAPE_CONTRAST = 4.5, 3.0
"""Least contrast of text and of lines and bars: WCAG 2.2, 1.4.3 and 1.4.11."""

THEME_NAME = "ApexCampaign.json"
"""Name of the theme. Where it lacks the ending, the Power BI service applies it wrongly."""

_FONT = "Segoe UI"


def theme() -> dict[str, Any]:
    """The report theme, as Desktop imports one."""
    return {
        "name": THEME_NAME,
        "dataColors": list(SERIES),
        "background": CARD,
        "foreground": INK,
        "foregroundNeutralSecondary": MUTED,
        "backgroundLight": PAGE,
        "tableAccent": ACCENT,
        "good": GOOD,
        "bad": BAD,
        "neutral": WARN,
        "textClasses": {
            "callout": {"fontFace": "Segoe UI Semibold", "fontSize": 22, "color": INK},
            "title": {"fontFace": "Segoe UI Semibold", "fontSize": 11, "color": INK},
            "header": {"fontFace": "Segoe UI Semibold", "fontSize": 10, "color": INK},
            "label": {"fontFace": _FONT, "fontSize": 9, "color": MUTED},
        },
        "visualStyles": {
            "*": {
                "*": {
                    "background": [
                        {"color": {"solid": {"color": CARD}}, "transparency": 0}
                    ],
                    "border": [
                        {
                            "show": True,
                            "color": {"solid": {"color": LINE}},
                            "radius": 8,
                        }
                    ],
                }
            },
            "page": {
                "*": {
                    "background": [
                        {"color": {"solid": {"color": PAGE}}, "transparency": 0}
                    ]
                }
            },
        },
    }


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
