"""Prices, indicators, labels and splits: from a file to the arrays that a model sees."""
