"""What people are told: the worker's log, its summary, its timeline, the logs of jobs."""
