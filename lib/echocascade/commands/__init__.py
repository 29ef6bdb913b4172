"""What the command line does, command by command; heavy imports wait until one is called."""
