"""Load generation: what does a configuration do under so many callers, or so many requests a second?

`load` sends calls and `samples` keeps what became of them; `report` and `timeline` make figures of that. `prompts`
is what is asked, `scenario` what simulated providers do, `simulation` runs it on virtual time and `processes` over
sockets; `plots` draws. Nothing here prints or parses a command line: `resilio.cli.bench` does. Stands beside the
top of the layers: it imports the client and `resilio.testing`, and only the command line imports it.
"""
