"""What jobs share of a machine: its size, its memory, what is prepared, what they may see."""
