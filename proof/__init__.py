"""`make proof`: takes the line apart on this machine and shows what holds."""
