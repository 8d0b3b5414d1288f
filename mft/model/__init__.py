"""What things ARE: frozen structs and pure functions. No I/O, no asyncio, no clock.

spec.py            base of every spec; how a field says that it is a secret
scope.py           run_on: where a component is active
server.py accounts.py services.py locations.py transfers.py leader_groups.py event_handlers.py nodes.py
                   one family of the config each
config.py          the whole config: its families, and the table family → spec
decode.py          document → specs, strictly, with every problem at once
check.py           what must hold between components
view.py            what one instance sees: overrides, variables, scope
delivery.py        one file on its way: record, states, names of temp files; the states are those of tests/model
"""
