"""Small readable networks, shapes in comments."""
