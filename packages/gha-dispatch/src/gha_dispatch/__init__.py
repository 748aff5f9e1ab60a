"""GitHub workflow dispatch and secrets through the gh command line tool."""
