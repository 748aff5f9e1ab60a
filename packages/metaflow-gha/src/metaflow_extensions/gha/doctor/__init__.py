"""`gha doctor`: every prerequisite with what was found, and the command that mends it."""
