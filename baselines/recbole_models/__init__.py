"""RecBole's sequential models: RecBole's classes and losses, with the harness's data and training loop.

Importing this package, or a module of it, raises `UnavailableError` if RecBole is not installed.
"""

from importlib.util import find_spec

from harness.data.sources.movielens import INSTALL_RECBOLE
from harness.errors import UnavailableError

#: RecBole, and packages that only its models import. They are looked up, not imported: RecBole takes seconds.
_PACKAGES = ("recbole", "colorama", "colorlog", "texttable")

if missing := ", ".join(name for name in _PACKAGES if find_spec(name) is None):
    raise UnavailableError(
        f"RecBole's models need packages that are not installed: {missing}.", f"Run '{INSTALL_RECBOLE}'."
    )
