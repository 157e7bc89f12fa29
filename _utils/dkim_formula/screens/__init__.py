"""
Screens: the functions' returns as text for people.

``commands.py`` has the screen of each function. ``terminal.py`` has the abilities of the terminal,
and ``words.py`` formats times, numbers and names. No screen asks a database or DNS, so that another
machine than the data's can draw it.
"""
