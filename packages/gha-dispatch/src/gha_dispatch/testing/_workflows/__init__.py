"""Workflow files as GitHub reads them, up to the jobs of a run. No I/O."""
