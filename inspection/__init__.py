"""The contracts that everything deployed shares.

Standard library only, no cloud client: the whole folder is packed into each archive.
"""
