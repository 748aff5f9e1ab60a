"""What a job says, and what is told of it: plain values."""
