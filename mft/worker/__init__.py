"""The process that moves bytes. It is spawned and steered by the agent and knows neither etcd nor grpc.

frames.py     what agent and worker say to each other
main.py       entry point: `python -m mft.worker.main inbound|outbound FD FD`
inbound.py    serves SFTP sessions on the sockets it is handed
outbound.py   makes the passes over transfers that it is told to make
probing.py    tries whether locations can be reached
"""
