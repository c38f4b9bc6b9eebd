"""Terminals: shells on machines that outlive the tabs that show them. No Tornado in it.

`hub`: which there are, machine by machine. `terminal`: one of them, its shell, who looks at it, and what happens when
the link breaks. `view`: one who looks, at a pace of its own. `scrollback`: what was shown, for who comes later. `login`:
the line that gives a shell its colours and its UTF-8.
"""
