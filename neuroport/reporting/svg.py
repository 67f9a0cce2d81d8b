"""Build SVG elements; the XML writer escapes them, so they are safe in a page."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from neuroport.errors import printable

Value = str | int | float


def child(parent: Element, tag: str, text: str | None = None, **attributes: Value) -> Element:
    """Append an element; ``_`` in an attribute's name means ``-``, a trailing ``_`` is dropped."""
    element = SubElement(parent, tag, _written(attributes))
    element.text = None if text is None else printable(text)
    return element


def picture(width: float, height: float, label: str, class_: str) -> Element:
    """Return an ``<svg>`` of a size in CSS pixels, named ``label`` for screen readers."""
    return Element(
        "svg",
        _written(
            {
                "width": width,
                "height": height,
                "viewBox": f"0 0 {_text(width)} {_text(height)}",
                "role": "img",
                "aria_label": label,
                "class_": class_,
            }
        ),
    )


def markup(element: Element) -> Markup:
    """Return the element as text for a template with autoescape."""
    return Markup(tostring(element, encoding="unicode"))


def _written(attributes: dict[str, Value]) -> dict[str, str]:
    return {k.rstrip("_").replace("_", "-"): _text(v) for k, v in attributes.items()}


def _text(value: Value) -> str:
    return f"{round(value, 2):g}" if isinstance(value, float) else printable(str(value))
