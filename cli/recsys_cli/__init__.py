"""The command line of recsys: one thin file a command.

.. code-block:: text

    app.py        the Typer application and the one error boundary
    options.py    the options that all commands share -> a Job
    logs.py       logs and progress on stderr
    show.py       results on stdout
    <command>.py  parses, calls one library function, prints
"""
