"""What a client asks of a server, said once for all clients: requests as values, and what several make.

A request is a `Call`. What takes several, and pauses between them, is a `Flow`: a generator that yields its steps and
is given what came of each. `unembed.transport` does the steps, in one way for programs that wait and in another for
those that await; nothing here touches a socket, or waits, but through it.
"""
