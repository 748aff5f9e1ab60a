"""What runs on the user's machine: checks, VMs, the relay of tasks."""
