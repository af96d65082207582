"""The commands that use the REST API of a coordinator, such as `coordinator releases list`.

They import no Django and need no settings of the coordinator, so they run on any machine. Everything that a server
sends is untrusted: responses are bounded in size and time, redirects are not followed, and control characters in texts
are escaped before they are printed.
"""
