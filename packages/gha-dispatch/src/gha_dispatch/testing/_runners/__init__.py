"""Runs and their jobs: waited for, executed by act, cancelled, logged."""
