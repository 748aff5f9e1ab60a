"""The extension's name and version, shown in Metaflow's own version string."""

__mf_extensions__ = "gha"
__version__ = "0.1.0"
