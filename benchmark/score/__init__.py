"""Scores of label maps."""
