"""What a run on GitHub Actions needs: one set of rules for the run, which stops, and for the doctor."""
