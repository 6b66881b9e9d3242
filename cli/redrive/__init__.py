"""`inspection redrive`: shows the dead letters and what lies in the inbound bucket, and sends it again."""
