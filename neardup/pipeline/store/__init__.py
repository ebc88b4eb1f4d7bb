"""Where flags end up: a projection of the verdicts, which can be thrown away and rebuilt from them."""
