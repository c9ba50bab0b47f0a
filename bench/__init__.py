"""Measurements of speed: `python -m bench`. Figures and how to read them: docs/performance.md."""
