"""What runs on the VM beside the step; standard library and Metaflow only."""
