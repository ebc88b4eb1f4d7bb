"""How good the matches are: rankings and, later, peers."""
