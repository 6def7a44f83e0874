"""Drawings of models: boxes and arrows (picture), their places (layout), SVG and graphviz's text.

`grid`, `order`, `place` and `layout` know sizes and arrows and nothing of models.
"""
