"""A whole GitHub on one machine, for one command: S3, a stand-in of GitHub, and runners."""
