"""The report's Markdown as HTML, so that the page says the same in the same words."""

from __future__ import annotations

from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup


def to_html(markdown: str) -> Markup:
    """Return Markdown of the report as HTML; tags in it stay text, and images are left out."""
    # markdown-it escapes all text, and refuses addresses that would run something.
    return Markup(_MARKDOWN.render(markdown))


def inline(markdown: str) -> Markup:
    """Return Markdown that is part of a line, such as a cell of a table, as HTML."""
    return Markup(_MARKDOWN.renderInline(markdown))


def paragraphs(blocks: Sequence[str | None]) -> Markup:
    """Return several blocks of Markdown as HTML; those that are not there are left out."""
    return to_html("\n\n".join(block for block in blocks if block))


class _Renderer(RendererHTML):
    """Renders what is the page's own way of tables and links."""

    def renderToken(  # noqa: N802
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        token = tokens[idx]
        if token.tag in ("td", "th") and token.nesting == 1:
            # As a class: the page's policy allows no style within a tag.
            style = str(token.attrs.pop("style", ""))
            token.attrs |= {"scope": "col"} if token.tag == "th" else {}
            token.attrs |= {"class": "number"} if "right" in style else {}
        if token.type == "link_open":
            token.attrs["rel"] = "noopener noreferrer"
        text = super().renderToken(tokens, idx, options, env)
        # What is wider than the window scrolls by itself, also by keyboard.
        if token.type == "table_open":
            return f'<div class="wide" tabindex="0" role="group" aria-label="Table">\n{text}'
        return f"{text}</div>\n" if token.type == "table_close" else text


_MARKDOWN = (
    MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer)
    .enable("table")
    .disable("image")
)
