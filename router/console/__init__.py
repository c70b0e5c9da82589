"""The console: a page for operators on the admin listener.

Everything it shows comes from what is there anyway: the delivery log, read by a consumer of its own into a bounded
memory; JetStream's own figures; the routers' signs of life; the desks that answer `pointsman.*`. So each router's
console shows the whole deployment, and none of them is needed for anything.

The parts that decide what is shown (`feed`, `masking`, `story`, `trouble`, `access`) know no web framework; `pages` and
`site` draw it with NiceGUI and are imported only where the console is switched on (docs/decisions).
"""
