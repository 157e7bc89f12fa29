"""
What a person sees of the functions' returns: data in, text out.

``commands.py`` has the screen of each function; ``terminal.py`` knows what can be shown,
``words.py`` how times, numbers and names are said. Nothing here asks a database or DNS, so that a
screen can be drawn on another machine than the one that the data is from.
"""
