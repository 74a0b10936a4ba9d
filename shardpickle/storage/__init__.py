"""Where the bytes of a model are: folders, files, memory, URLs. No other room opens files."""
