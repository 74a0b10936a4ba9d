"""What any room may use: workers, progress, memory, versions, sizes."""
