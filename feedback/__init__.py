"""The record: what was said, what people thought of it, and which version said it."""
