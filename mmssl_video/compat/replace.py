"""Replace a function or method of an upstream package."""

import functools
from collections.abc import Callable


def replace(owner: object, name: str, wrap: Callable) -> None:
    """Set ``owner.name`` to ``wrap(upstream)``; further calls change nothing."""
    upstream = getattr(owner, name)
    if not hasattr(upstream, '_mmssl_upstream'):
        replacement = functools.wraps(upstream)(wrap(upstream))
        replacement._mmssl_upstream = upstream
        setattr(owner, name, replacement)
