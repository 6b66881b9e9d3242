"""What all commands share: arguments, errors, progress, uploads, and which line a command is about."""
