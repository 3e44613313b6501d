"""Hooks, optimizers and parameter schedulers, registered into MMAction2."""

from . import hooks, optimizers, schedulers

__all__ = ['hooks', 'optimizers', 'schedulers']
