"""All I/O below the server: what a client's conversation reads from and writes to.

A `smtpx.net.channel.Channel` is a duplex stream of octets with timeouts that can turn
to TLS. There is one for sockets that block and one for asyncio; a conversation written
over the protocol runs on both, and on any third one, such as a proxy or a transcript.
"""
