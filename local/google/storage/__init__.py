"""Cloud Storage on your own machine: the JSON API and signed URLs, with preconditions, on disk.

Deliberately absent: object versions, soft delete, access control lists, retention, encryption keys, and the XML API
beyond the download by signed URL. A request that asks for one of them is refused, or (lists of rights) answered empty.
"""
