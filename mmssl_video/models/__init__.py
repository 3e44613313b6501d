"""Self-supervised recognizer, heads, projections and memories, registered into MMAction2."""

from . import heads, memory, necks, recognizers
from .momentum import MomentumCopy, forward_shuffled

__all__ = ['MomentumCopy', 'forward_shuffled', 'heads', 'memory', 'necks', 'recognizers']
