"""Runs the Pulumi program on this machine and makes real what it declares."""
