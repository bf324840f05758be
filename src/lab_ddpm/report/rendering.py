"""The pages' templates, filled in."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def render(template: str, **values: Any) -> str:
    """The text of a file in `templates/` with its values in their places; in HTML they are escaped."""
    environment = Environment(
        loader=PackageLoader("lab_ddpm.report"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": _duration, "guided_share": _guided_share}
    return environment.get_template(template).render(**values)


def _duration(seconds: float) -> str:
    """42 seconds, 5.3 minutes, 2.4 hours or 3.1 days."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _guided_share(stop: float | None) -> str:
    """What is said behind a guidance scale: nothing where all noise levels are guided."""
    return "" if stop in (None, 1) else f" at the noisier {stop:g} of the levels"
