"""Runs one script below a process that ends it, and all it started, when its time is over."""
