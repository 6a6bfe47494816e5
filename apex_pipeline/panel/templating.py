"""The HTML pages, rendered by Jinja with every value escaped."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from apex_pipeline.settings import Tenant

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"

_TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> bytes:
    page = _TEMPLATES.get_template(template)
    return page.render(**values).encode()


def page_title(tenant: Tenant) -> str:
    """The heading of every page."""
    return tenant.title("Campaign metrics")


def sign_in_form(title: str, root: str, is_wrong: bool) -> bytes:  # noqa: FBT001  one flag, named at no call
    """Render the sign-in form of an application that is published below a path."""
    return render("sign_in.html", title=title, root=root, is_wrong=is_wrong)
