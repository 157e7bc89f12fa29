"""
DNS: where zones are, whether servers hold what they should, and dynamic updates.

dnspython is imported where messages are made and read, and there by the functions themselves: a
machine that the formula has not yet been applied to does not have it, and loads this all the same.
"""
