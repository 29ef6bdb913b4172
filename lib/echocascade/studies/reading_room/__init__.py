"""Where readers answer: a page on a small server, or the same page as one file."""
