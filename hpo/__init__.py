"""The service: storage, workers, phases, reports."""
