"""Pub/Sub on this machine."""
