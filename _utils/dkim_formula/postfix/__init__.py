"""Postfix's configuration through postconf(1): the formula's milters next to other milters."""
