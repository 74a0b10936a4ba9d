"""Bytes to meaning and back. Sees arrays only: no objects, no manifest, no files."""
