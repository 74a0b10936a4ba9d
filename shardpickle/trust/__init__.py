"""What may be made of a file, and what must hold of it: one boundary for reading and writing."""
