"""What several of the scripts use."""
