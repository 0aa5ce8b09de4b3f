"""What a digest of code covers."""

from harness.storage.code_closure import CodeClosure
from harness.storage.code_identity import _root_names


def code_reached(*roots: object) -> list[str]:
    """What `code_digest` hashes, as `module:name`; statements without a name as `module:*`."""
    closure = CodeClosure(sorted(set(_root_names(roots))))
    return sorted({f"{m.name}:{','.join(s.binds) or '*'}" for m, s in closure.statements()})
