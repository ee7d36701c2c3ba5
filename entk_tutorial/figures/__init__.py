"""Figures of single chapters; what several share is in :mod:`entk_tutorial.plotting`."""
