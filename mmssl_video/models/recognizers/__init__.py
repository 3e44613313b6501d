"""The self-supervised recognizer."""

from .ssl_recognizer import SSLRecognizer

__all__ = ['SSLRecognizer']
