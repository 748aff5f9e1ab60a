"""What runs on the VM beside the step; standard library and Metaflow only."""

# Set in every job, so that a step can tell a VM from the user's own machine.
ON_VM = "METAFLOW_GHA_WORKLOAD"
