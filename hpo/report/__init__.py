"""What a search has learnt: read from records, never from logs."""
