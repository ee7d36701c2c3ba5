"""Timings and memory beside named peers; each script runs both sides in one invocation and stores a table."""
