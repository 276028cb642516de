"""``convlint server``: findings while typing, over the language-server protocol.

    editor ──LSP──▶ language_server ──▶ session ──▶ checker ──pipe──▶ worker: the engine

The server itself only talks and keeps time. Checks run in one worker process beside it, which is
ended when a check takes too long: typing never waits, and whatever a rule of the project prints
or breaks stays there.
"""
