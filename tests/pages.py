"""Pages taken apart."""

from __future__ import annotations

from html.parser import HTMLParser

SCRIPT = "<script>document.title='taken over'</script>"
QUOTES = "\"'><img src=x onerror=document.title='taken_over'>"


class Page(HTMLParser):
    """Tables, text and tags of a page, as a browser would understand them."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.words: list[str] = []
        self._rows: list[list[str]] | None = None
        self._cell = False
        self._silent = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        if tag in ("script", "style"):
            self._silent = True
        if tag == "table":
            self._rows = self.tables.setdefault(found.get("id", "plain"), [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
            self._cell = False
        elif tag in ("td", "th") and self._rows is not None:
            self._rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._silent = False
        if tag == "table":
            self._rows, self._cell = None, False

    def handle_data(self, data):
        if self._silent:
            return
        self.words.append(data)
        if self._cell:
            self._rows[-1][-1] += data.strip()

    @property
    def text(self) -> str:
        return "".join(self.words)

    def columns(self, table: str) -> dict[str, list[str]]:
        """Cells of a table by the head of their column."""
        heads, *rows = self.tables[table]
        return dict(zip(heads, map(list, zip(*rows, strict=True)), strict=True))

    def named(self, tag: str) -> list[dict]:
        """Attributes of all tags of a name."""
        return [attributes for name, attributes in self.tags if name == tag]
