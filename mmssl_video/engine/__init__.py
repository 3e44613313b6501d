"""Hooks, registered into MMAction2."""

from . import hooks

__all__ = ['hooks']
