"""Labelled images and their import files."""
