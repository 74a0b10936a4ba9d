"""Pickle's bytes: from an object graph to parts and skeletons, and back to steps."""
