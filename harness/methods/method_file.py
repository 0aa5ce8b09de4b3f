"""Methods from Python files: `./my_method.py:Markov` names a class or function in a file that is not installed.

The file is imported as a module under its own name, or under its dotted name where it is part of a package. Its folder
goes to the end of the import path, so that the file can import its neighbours.
"""

import importlib
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UnavailableError
from harness.storage.code_identity import forget_modules
from harness.storage.files import file_digest

_REFERENCE = re.compile(r"(?P<path>.+\.py)(:(?P<attribute>.*))?", re.DOTALL)
#: What a file's name must look like, as it becomes a module's name and part of results' file names.
_STEM = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

#: Modules that were imported here: name -> file and SHA-256 of the content.
_imported: dict[str, tuple[Path, str]] = {}


@dataclass(frozen=True)
class MethodFile:
    """A class or function in a file that makes a method.

    Attributes:
        path: the file, absolute.
        attribute: the name in it.
    """

    path: Path
    attribute: str

    @classmethod
    def parse(cls, reference: str, folder: Path) -> "MethodFile":
        """Read a reference such as `./my_method.py:Markov`.

        Args:
            reference: path and name.
            folder: where a relative path starts.

        Raises:
            HarnessError: no name, no such file, or a file name that cannot be a module's.
        """
        match = _REFERENCE.fullmatch(reference)
        path = (folder / Path(match["path"] if match else reference).expanduser()).resolve()
        if not match or not match["attribute"]:
            raise HarnessError(
                f"{reference}: a method from a file needs the name of its class or function.",
                f"Write it as in {path.name}:Markov.",
            )
        if not path.is_file():
            raise HarnessError(f"{reference}: there is no file {path}.", "Check the path.")
        if not _STEM.fullmatch(path.stem):
            raise HarnessError(
                f"{reference}: {path.name} is no name of a Python module.", "Rename the file, as in my_method.py."
            )
        return cls(path, match["attribute"])

    @property
    def reference(self) -> str:
        """The absolute path and the name."""
        return f"{self.path}:{self.attribute}"

    @property
    def name(self) -> str:
        """The method's name in results: `my_method.Markov`."""
        return f"{self.path.stem}.{self.attribute}"

    @property
    def module(self) -> str:
        """The name that the file is imported under: `my_method`, or `package.my_method`."""
        return _module_name(self.path)[0]

    def load(self) -> Callable[[], Any]:
        """The class or function. Imports the file, or imports it again if it was changed.

        Raises:
            UnavailableError: it imports something that is not installed.
            HarnessError: it fails, cannot be imported under its name, or lacks the class or function.
        """
        values = vars(_import(self.path))
        if not callable(values.get(self.attribute)):
            module = self.module
            offered = [
                name
                for name, value in values.items()
                if callable(value) and getattr(value, "__module__", "") == module and not name.startswith("_")
            ]
            error = HarnessError.unknown("class or function", self.attribute, offered)
            hint = error.hint if offered else "It defines none."
            raise HarnessError(f"{self.path.name}: {error.what}", hint)
        factory: Callable[[], Any] = values[self.attribute]
        return factory

    def make(self) -> Any:
        """Call the class or function.

        Raises:
            HarnessError: see `load`; or the call fails.
        """
        factory = self.load()
        try:
            return factory()
        except HarnessError:
            raise
        except Exception as error:
            raise HarnessError(
                f"{self.attribute} in {self.path.name} cannot be made: {type(error).__name__}: {error}.",
                "Fix the file.",
            ) from error


def is_file_reference(text: str) -> bool:
    """Whether a text names a method in a file, such as `./my_method.py:Markov`."""
    return _REFERENCE.fullmatch(text) is not None


def file_in_traceback(error: BaseException) -> str | None:
    """The place in a method's file where an exception was raised, or from where: `my_method.py, line 12`."""
    paths = {str(path): path for path, _ in _imported.values()}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in paths:
            return f"{paths[frame.filename].name}, line {frame.lineno}"
    return None


def _module_name(path: Path) -> tuple[str, Path]:
    """A file's module name, and the folder that must be on the import path for it."""
    name, folder = path.stem, path.parent
    while (folder / "__init__.py").is_file():
        name, folder = f"{folder.name}.{name}", folder.parent
    return name, folder


def _import(path: Path) -> Any:
    name, root = _module_name(path)
    content = file_digest(path)
    previous = _imported.get(name)
    if previous == (path, content):
        return sys.modules[name]
    if {"site-packages", "dist-packages"} & set(path.parts):
        raise HarnessError(
            f"{path} belongs to an installed package: its code would not be part of a result's identity.",
            "Copy the file, or give the package an entry point.",
        )
    if previous and previous[0] != path:  # another folder's file of that name
        del sys.modules[name], _imported[name]
        sys.path.remove(str(_module_name(previous[0])[1]))
    if str(root) not in sys.path:
        sys.path.append(str(root))
    importlib.invalidate_caches()
    forget_modules()
    with _import_errors(path):
        spec = find_spec(name)
        origin = (spec and spec.origin) or "a folder without __init__.py"
        if Path(origin).resolve() != path:
            raise HarnessError(f"{path}: {name} is the name of another module: {origin}.", "Rename the file.")
        module = importlib.reload(sys.modules[name]) if name in _imported else importlib.import_module(name)
    _imported[name] = (path, content)
    return module


@contextmanager
def _import_errors(path: Path) -> Iterator[None]:
    """Raise what a file raises while it is imported as a `HarnessError`, and write no bytecode beside the file."""
    writes_nothing, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    except HarnessError:
        raise
    except ImportError as error:
        raise UnavailableError(f"{path.name} cannot be imported: {error}.", "Install what it needs.") from error
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = f", line {lines[-1]}" if lines else ""
        raise HarnessError(
            f"{path.name}{line} cannot be imported: {type(error).__name__}: {error}.", "Fix the file."
        ) from error
    finally:
        sys.dont_write_bytecode = writes_nothing
