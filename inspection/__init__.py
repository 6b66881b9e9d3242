"""The vocabulary that every part of the inspection line shares.

Standard library only, no cloud client: what is here is copied into each function's archive. The `inspection`
command lives in :mod:`inspection.command` and is not deployed.
"""
