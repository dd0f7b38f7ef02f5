"""What the documentation site needs beyond Sphinx: its sidebar, diagrams without scripts, and two checks."""

import re
from enum import Enum
from functools import lru_cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, get_type_hints

import mermaidx
from docutils import nodes
from pydantic import BaseModel
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import stringify_signature

import operator_core

log = logging.getLogger(__name__)  # in a strict build each warning is an error
LOADED = re.compile(
    r"""(?:<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=|@import|\burl\()\s*["']?"""
    r"""((?:https?:)?//[^"'\s>)]+)"""
)
"""Matches what a browser fetches by itself from another host, not the links that a reader follows."""


def add_sidebar(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append the sidebar to the first page, which stays plain Markdown; skip pages that are not written yet."""
    if docname != app.config.root_doc:
        return
    folder = Path(app.srcdir, docname).parent
    for caption, pages in app.config.site_navigation.items():
        entries = [page for page in pages if "*" in page or _page(app, folder, page).exists()]
        lines = ["\n", "```{toctree}", ":hidden:", ":glob:", f":caption: {caption}", "", *entries, "```"]
        source[0] += "\n".join(lines)


def _page(app: Sphinx, folder: Path, entry: str) -> Path:
    page = entry.rpartition("<")[2].rstrip(">")  # of "Title <page>", or all of "page"
    return (Path(app.srcdir) / page[1:] if page.startswith("/") else folder / page).with_suffix(".md")


@lru_cache
def draw(diagram: str) -> str:
    """Return a diagram as SVG."""
    return mermaidx.render(diagram).svg()


def unlink_folders(app: Sphinx, doctree: nodes.document) -> None:
    """Show a link to a folder as text: the site has pages and files, but no listing of a folder."""
    for link in list(doctree.findall(addnodes.pending_xref)):
        _, path = app.env.relfn2path(link["reftarget"])
        if link["reftype"] == "myst" and Path(path).is_dir():
            link.replace_self(link.children)


class Mermaid(SphinxDirective):
    """Draws a Mermaid diagram while the site is built, so that no page loads a script for it."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the diagram as part of the page."""
        svg = draw("\n".join(self.content))
        style = "background: white; overflow-x: auto; padding: 1em"  # the lines are black, in the dark theme too
        return [nodes.raw("", f'<div style="{style}">{svg}</div>', format="html")]


def choose_members(_app: Sphinx, what: str, _name: str, value: object, skip: bool, _options: Any) -> bool | None:  # noqa: FBT001
    """Document enum values and public names, also without a docstring; leave out the objects of SQLAlchemy."""
    if type(value).__module__.startswith("sqlalchemy.") and not isinstance(value, type):
        return True  # `Base.metadata` and `Base.registry`
    return False if skip and (what == "module" or isinstance(value, Enum)) else None


def plain_signature(
    _app: Sphinx, what: str, _name: str, value: Any, _options: Any, _signature: str, returns: str
) -> tuple[str, str] | None:
    """Show the fields of a Pydantic model with their types, without the validators that are annotated to these."""
    if what != "class" or not issubclass(value, BaseModel):
        return None
    shown, types = signature(value), get_type_hints(value)
    fields = [field.replace(annotation=types.get(name, field.annotation)) for name, field in shown.parameters.items()]
    text = stringify_signature(shown.replace(parameters=fields), show_return_annotation=False)
    return text.replace("<factory>", "..."), returns


def public_names() -> set[str]:
    """Return every name that a package of the library offers in its `__all__`."""
    packages = [f"operator_core.{module.name}" for module in iter_modules(operator_core.__path__) if module.ispkg]
    return {f"{package}.{name}" for package in packages for name in getattr(import_module(package), "__all__", ())}


def check_reference(_app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each public name that the reference leaves out."""
    for name in sorted(public_names() - env.domains.python_domain.objects.keys()):
        log.warning("%s is public, but the reference in docs/reference/ has no entry for it", name)


def check_addresses(app: Sphinx, failure: Exception | None) -> None:
    """Warn of each page, style sheet or picture that makes a browser fetch something from another host."""
    paths = [] if failure else Path(app.outdir).rglob("*")
    for path in (path for path in paths if path.suffix in {".html", ".css", ".svg"}):
        for found in LOADED.finditer(path.read_text(encoding="utf-8")):
            log.warning("%s loads %s: the site must work offline", path.relative_to(app.outdir), found[1])


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect all of it; Sphinx calls this."""
    app.add_config_value("site_navigation", {}, "env", dict)
    app.add_directive("mermaid", Mermaid)
    app.connect("source-read", add_sidebar)
    app.connect("doctree-read", unlink_folders)
    app.connect("autodoc-skip-member", choose_members)
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("env-check-consistency", check_reference)
    app.connect("build-finished", check_addresses)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
