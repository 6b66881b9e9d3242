"""What the model commands read and write in a stack's configuration file."""
