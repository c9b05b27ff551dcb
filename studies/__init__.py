"""What is searched: specifications, data, model families and training."""
