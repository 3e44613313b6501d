"""How a workaround takes the place of what is upstream."""

import functools
from collections.abc import Callable


def replace(owner: object, name: str, wrap: Callable) -> None:
    """Set ``owner.name`` to ``wrap(upstream)``, once however often it is called."""
    upstream = getattr(owner, name)
    if not hasattr(upstream, '_mmssl_upstream'):
        replacement = functools.wraps(upstream)(wrap(upstream))
        replacement._mmssl_upstream = upstream
        setattr(owner, name, replacement)
