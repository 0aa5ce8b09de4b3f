"""Figures of matplotlib as SVG elements that take their colours from the page's CSS variables."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

#: CSS variables of the page that figures use: `--ink` and so on; `--level-0` is the most negative of seven levels.
VARIABLES = ("ink", "muted", "grid", "accent", "warn", "good", "empty", *(f"level-{number}" for number in range(7)))
#: Colours by variable. They stand for the variable until the figure is written, and no figure uses them otherwise.
COLOURS = {name: f"#fe{number:02x}01" for number, name in enumerate(VARIABLES)}
LEVELS = tuple(COLOURS[f"level-{number}"] for number in range(7))

_STYLE = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's font
    "svg.hashsalt": "harness",  # equal figures give equal files
    "text.parse_math": False,  # a method's name may hold dollars
    "font.size": 10.0,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.titlesize": 10.0,
    "axes.titlecolor": COLOURS["ink"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.bottom": False,
    "ytick.left": False,
    "xtick.minor.bottom": False,
    "ytick.minor.left": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "legend.frameon": False,
}
_NUMBER = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
#: What the page's styles say of SVG elements, or browsers do.
_DEFAULTS = (
    ("stroke-linecap", "square"),
    ("stroke-linejoin", "miter"),
    ("stroke-linejoin", "round"),
    ("font-size", "10px"),
    ("fill", COLOURS["ink"]),
)
_GEOMETRY = ("d", "x", "y", "width", "height", "transform", "points")


@contextmanager
def page_style() -> Iterator[None]:
    """The style of the page's figures; make them within it."""
    with rc_context(_STYLE):  # type: ignore[arg-type] # the stubs want literal keys
        yield


def to_svg(figure: Figure, title: str, description: str, prefix: str) -> Markup:
    """An accessible SVG element.

    Args:
        figure: made within `page_style`.
        title: its accessible name.
        description: what it shows, in words.
        prefix: of the ids in it; each figure of a page needs its own.
    """
    file = io.StringIO()
    with page_style():
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(file.getvalue())  # noqa: S314 - matplotlib wrote it
    _simplify(root, prefix)
    labels = [f"{prefix}-title", f"{prefix}-desc"]
    for number, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag, {"id": labels[number]})
        element.text = text
        root.insert(number, element)
    root.attrib = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-labelledby": " ".join(labels)}
    root.set("style", f"--width: {figure.get_figwidth() * 72:.0f}px")
    text = ElementTree.tostring(root, encoding="unicode")
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    return Markup(text)  # noqa: S704 - ElementTree escaped it


def _simplify(root: ElementTree.Element, prefix: str) -> None:
    """Drop namespaces, metadata, fonts and unused ids, and round coordinates: the page holds many figures."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    used = set()
    for element in root.iter():
        if element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        if element.tag in ("g", "svg", "defs"):
            element.text = element.text if (element.text or "").strip() else None
        element.tail = None
        used.update(_REFERENCE.findall(" ".join(element.attrib.values())))
        if (target := element.get("href", "")).startswith("#") and element.tag == "use":
            used.add(target[1:])
    names = {name: f"{prefix}-{number}" for number, name in enumerate(sorted(used))}
    for element in root.iter():
        if (name := element.attrib.pop("id", "")) in names:
            element.set("id", names[name])
        for key, value in list(element.attrib.items()):
            if key in _GEOMETRY:
                value = _NUMBER.sub(lambda match: f"{float(match[0]):.1f}".removesuffix(".0"), value)
            elif key == "href" and element.tag == "use":
                value = f"#{names[value[1:]]}"
            elif key == "style":
                value = _without_fonts(value)
            element.set(key, _REFERENCE.sub(lambda match: f"url(#{names[match[1]]})", " ".join(value.split())))


def _without_fonts(style: str) -> str:
    """A style without the font's family, which is the page's, and without what is the default."""
    kept = []
    for part in style.split(";"):
        name, _, value = part.strip().partition(": ")
        if name == "font":
            size = re.search(r"[\d.]+px", value)
            name, value = "font-size", size[0] if size else "10px"
        if name and name != "font-family" and (name, value) not in _DEFAULTS:
            kept.append(f"{name}:{value}")
    return ";".join(kept)
