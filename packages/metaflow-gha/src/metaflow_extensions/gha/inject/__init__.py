"""Writes the workflow that starts the VMs into the user's repository."""
