"""What people read about a model: inspect, verify and diff, as text and as pages."""
