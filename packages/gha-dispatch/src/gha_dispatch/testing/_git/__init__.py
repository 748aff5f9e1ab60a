"""Repositories on this machine that the stand-in shows as GitHub's."""
