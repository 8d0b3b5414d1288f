"""WHAT HAPPENED: every outcome is an event with a stable number, from one catalogue.

catalogue.py   the numbers, their severity, group and text
manual.py      the manual's page, made from the catalogue
event.py       one event
queue.py       what one handler has still to take
bus.py         takes events without ever waiting and hands them to the handlers that the config wants here
spool.py       what the controllers must have, on this instance's disk until they have it
spool_files.py its files
uplink.py      one stream to one controller
lines.py       an event as one line
handlers/      what is done with events; table spec → class
"""
