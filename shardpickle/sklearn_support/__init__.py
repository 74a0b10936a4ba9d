"""What depends on scikit-learn's releases: classes with trees, and states that were renamed."""
