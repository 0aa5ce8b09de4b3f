"""One HTML file with everything that result files say."""

from harness.report.page.render import render_page

__all__ = ["render_page"]
