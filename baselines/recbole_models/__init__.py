"""RecBole's sequential models: classes and losses as they are, data and training loop ours.

Importing this package, or a module of it, raises `UnavailableError` where RecBole is missing.
"""

from importlib.util import find_spec

from harness.data.sources.movielens import INSTALL_RECBOLE
from harness.errors import UnavailableError

#: RecBole, and what its models import of packages that nothing else here needs. They are looked for, not imported:
#: RecBole takes seconds.
_PACKAGES = ("recbole", "colorama", "colorlog", "texttable")

if missing := ", ".join(name for name in _PACKAGES if find_spec(name) is None):
    raise UnavailableError(
        f"RecBole's models need packages that are not installed: {missing}.", f"Run '{INSTALL_RECBOLE}'."
    )
