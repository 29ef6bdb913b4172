"""How fast this machine runs every part, beside what it could do and beside a published peer."""
