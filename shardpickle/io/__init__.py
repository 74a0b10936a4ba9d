"""Whole models, composed: dump, load, convert, one file a job. Codecs and bytes are others'."""
