"""Checks of the exercises, one module a chapter, with the solutions that the tests run.

A check takes the reader's answer and returns an :class:`Answer`: right or wrong, and if wrong, the likely mistake.
"""

from entk_tutorial.exercises.base import Answer, close, number

__all__ = ["Answer", "close", "number"]
