"""One self-contained HTML page about a results file: sets, figures, failures, provenance, costs.

The page needs no network and no other file. Whatever comes from the results file is escaped, and
a content policy in the page lets no script run but its own: a results file is not trusted.
"""

from .page import Drawn, draw, page

__all__ = ["Drawn", "draw", "page"]
