"""INBOUND: the protocols in which clients reach their files.

session.py         one logged-in client: the only place that checks permission, touches a file and emits; no protocol
uploads.py         what becomes of an open file: read, written in place, or kept aside until it is complete
proxy_protocol.py  who a load balancer says the client is
host_keys.py       making of host keys, and their fingerprints
sftp.py            the SFTP service: accepts connections, pauses, drains
sftp_options.py    algorithms and limits of its SSH
sftp_connection.py one TCP connection from PROXY header to end
sftp_login.py      who may come in
sftp_channel.py    one SFTP channel: flow control, order of answers
sftp_requests.py   each SFTP request as an operation of the session
sftp_wire.py       SFTP version 3 as bytes
sftp_status.py     the one table of errors → SFTP status
"""
