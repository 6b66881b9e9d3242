"""`make demo`: sample images through the whole line."""
