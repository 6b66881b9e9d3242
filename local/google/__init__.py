"""Google's services on this machine, no kinder than Google."""
