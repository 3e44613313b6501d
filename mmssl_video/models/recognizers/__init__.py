"""The self-supervised recognizer, and those with a frozen backbone."""

from .frozen_recognizer import FrozenRecognizer2D, FrozenRecognizer3D
from .ssl_recognizer import SSLRecognizer

__all__ = ['FrozenRecognizer2D', 'FrozenRecognizer3D', 'SSLRecognizer']
