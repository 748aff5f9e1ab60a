"""Runs command jobs from a gha-queue on any machine, and leaves when the work is done."""
