"""The project's own tools: run and check notebooks, check prose, fetch MathJax, take screenshots."""
