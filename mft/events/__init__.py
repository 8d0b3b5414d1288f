"""WHAT HAPPENED: every outcome is an event with a stable number, from one catalogue.

catalogue.py   the numbers, their severity, fields and text; the manual's page is made from it
event.py       one event
bus.py         takes events without ever waiting and hands them to the handlers that the config wants here
handlers/      what is done with events; table spec → class
"""
