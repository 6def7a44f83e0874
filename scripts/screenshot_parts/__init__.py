"""What scripts/screenshots.py is made of: a browser, a TensorBoard, and its tabs."""
