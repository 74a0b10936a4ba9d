"""Pickling: object graphs to parts and skeletons, and skeletons to steps."""
