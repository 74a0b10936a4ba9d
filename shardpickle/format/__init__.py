"""The bytes of a model: manifest, shards, columns. Knows no paths."""
