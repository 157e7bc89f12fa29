"""Postfix: main.cf through postconf(1), and our milters among other people's."""
