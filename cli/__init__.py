"""The `inspection` command: hands each subcommand over to the room that does the work, importing it only then."""
