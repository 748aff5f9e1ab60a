"""The commands: run and submit."""
