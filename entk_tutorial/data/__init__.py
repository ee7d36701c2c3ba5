"""Generators of the toy tasks, and loaders of real text."""

from entk_tutorial.data.modular import ModularTask, modular_task

__all__ = ["ModularTask", "modular_task"]
