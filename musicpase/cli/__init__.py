"""The command line: every command parses its arguments, calls the library, prints."""
