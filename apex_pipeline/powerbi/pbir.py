"""Write the report as PBIR: one JSON file for the report, each page and each visual.

Each schema names its own version as a constant, and an older Desktop does not know a
newer version. These are of May to June 2025; Desktop upgrades older files when it saves.
"""

from collections.abc import Sequence
from typing import Any

from apex_pipeline.powerbi.colours import THEME_NAME, theme
from apex_pipeline.powerbi.identity import page_id, tag, visual_id
from apex_pipeline.powerbi.report_layout import (
    GAP,
    HEIGHT,
    PHONE_WIDTH,
    WIDTH,
    Page,
    Visual,
    VisualField,
)

SCHEMAS = "https://developer.microsoft.com/json-schemas/fabric/"
_REPORT = f"{SCHEMAS}item/report/"
_DEFINITION = f"{_REPORT}definition/"

# The report's version in Desktop of October 2024, whose base theme it names.
_THEME_VERSION = "5.61"

Json = dict[str, Any]


def report_files(pages: Sequence[Page], model_folder: str) -> dict[str, Json]:
    """The files of the report's folder: path to content."""
    files: dict[str, Json] = {
        "definition.pbir": {
            "$schema": f"{_REPORT}definitionProperties/2.0.0/schema.json",
            "version": "4.0",
            "datasetReference": {"byPath": {"path": f"../{model_folder}"}},
        },
        "definition/version.json": {
            "$schema": f"{_DEFINITION}versionMetadata/1.0.0/schema.json",
            "version": "2.0.0",
        },
        "definition/report.json": _report(),
        f"StaticResources/RegisteredResources/{THEME_NAME}": theme(),
        "definition/pages/pages.json": {
            "$schema": f"{_DEFINITION}pagesMetadata/1.0.0/schema.json",
            "pageOrder": [page_id(page.name) for page in pages],
            "activePageName": page_id(pages[0].name),
        },
    }
    for page in pages:
        files |= _page_files(page)
    return files


def _report() -> Json:
    return {
        "$schema": f"{_DEFINITION}report/2.0.0/schema.json",
        "themeCollection": {
            "baseTheme": {
                "name": "CY24SU10",
                "reportVersionAtImport": _THEME_VERSION,
                "type": "SharedResources",
            },
            "customTheme": {
                "name": THEME_NAME,
                "reportVersionAtImport": _THEME_VERSION,
                "type": "RegisteredResources",
            },
        },
        "resourcePackages": [
            {
                "name": "RegisteredResources",
                "type": "RegisteredResources",
                "items": [
                    {
                        "name": THEME_NAME,
                        "path": THEME_NAME,
                        "type": "CustomTheme",
                    }
                ],
            }
        ],
        "settings": {
            "useStylableVisualContainerHeader": True,
            "exportDataMode": "AllowSummarized",
            "defaultDrillFilterOtherVisuals": True,
            "useEnhancedTooltips": True,
        },
    }


def _page_files(page: Page) -> dict[str, Json]:
    folder = f"definition/pages/{page_id(page.name)}"
    files = {f"{folder}/page.json": _page(page)}
    below = 0
    for order, visual in enumerate(page.visuals):
        place = f"{folder}/visuals/{visual_id(page.name, visual.title)}"
        files[f"{place}/visual.json"] = _visual(page, visual, order)
        if visual.phone_height is not None:
            files[f"{place}/mobile.json"] = {
                "$schema": f"{_DEFINITION}visualContainerMobileState/2.0.0/schema.json",
                "position": {
                    "x": 0,
                    "y": below,
                    "z": order,
                    "height": visual.phone_height,
                    "width": PHONE_WIDTH,
                    "tabOrder": order,
                },
            }
            below += visual.phone_height + GAP
    return files


def _page(page: Page) -> Json:
    found: Json = {
        "$schema": f"{_DEFINITION}page/2.0.0/schema.json",
        "name": page_id(page.name),
        "displayName": page.name,
        "displayOption": "FitToPage",
        "height": HEIGHT,
        "width": WIDTH,
    }
    if page.drill_through:
        filter_name = tag("filter", page.name).replace("-", "")[:20]
        field = _expression(page.drill_through)
        found["filterConfig"] = {
            "filters": [
                {
                    "name": filter_name,
                    "field": field,
                    "type": "Categorical",
                    "howCreated": "Drillthrough",
                }
            ]
        }
        found["pageBinding"] = {
            "name": tag("binding", page.name).replace("-", "")[:20],
            "type": "Drillthrough",
            "parameters": [
                {
                    "name": f"Param_{filter_name}",
                    "boundFilter": filter_name,
                    "fieldExpr": field,
                }
            ],
        }
        found["type"] = "Drillthrough"
    return found


def _visual(page: Page, visual: Visual, order: int) -> Json:
    box = visual.box
    query: Json = {
        "queryState": {
            role: {"projections": [_projection(visual, role, f) for f in fields]}
            for role, fields in visual.roles.items()
        }
    }
    if visual.sort:
        field, descending = visual.sort
        query["sortDefinition"] = {
            "sort": [
                {
                    "field": _expression(field),
                    "direction": "Descending" if descending else "Ascending",
                }
            ]
        }
    return {
        "$schema": f"{_DEFINITION}visualContainer/2.0.0/schema.json",
        "name": visual_id(page.name, visual.title),
        "position": {
            "x": box.x,
            "y": box.y,
            "z": order,
            "height": box.height,
            "width": box.width,
            "tabOrder": order,
        },
        "visual": {
            "visualType": visual.type,
            "query": query,
            "visualContainerObjects": {
                "title": _object(show=_literal("true"), text=_text(visual.title)),
                "general": _object(altText=_text(visual.alt_text)),
            },
            "drillFilterOtherVisuals": True,
        },
    }


def _projection(visual: Visual, role: str, field: VisualField) -> Json:
    projection: Json = {
        "field": _expression(field),
        "queryRef": f"{field.table}.{field.name}",
        "nativeQueryRef": field.name,
    }
    if role == "Category" or (visual.type == "slicer" and not field.is_measure):
        projection["active"] = True
    return projection


def _expression(field: VisualField) -> Json:
    return {
        "Measure" if field.is_measure else "Column": {
            "Expression": {"SourceRef": {"Entity": field.table}},
            "Property": field.name,
        }
    }


def _object(**properties: Json) -> list[Json]:
    return [{"properties": properties}]


def _text(text: str) -> Json:
    return _literal("'" + text.replace("'", "''") + "'")


def _literal(value: str) -> Json:
    """A literal of the query language: `true`, `5L`, `12D`, or text in quotes."""
    return {"expr": {"Literal": {"Value": value}}}
