"""What sets a repository up: the workflow that starts its VMs, and what the VMs need."""
