"""python -m serve: listen, load the model, answer until told to stop."""

import faulthandler
import os
import signal
import socket
import sys

from digitjax.base import device
from digitjax.base.errors import DigitjaxError, UsageError
from serve import workers
from serve.settings import described, read

DONE, FAILED, MISUSED = 0, 1, 2


def main(words: list[str]) -> int:
    faulthandler.enable()  # a crash in native code says on stderr where it was
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(DONE))
    try:
        settings = read(os.environ)
        if words[:1] == ["worker"]:
            listener, place = socket.socket(fileno=int(words[1])), int(words[2])
            workers.prepare(place, settings.workers)
        elif words:
            print(f"usage: python -m serve\n\nSettings are environment variables:\n{described()}")
            return DONE if words[0] in ("-h", "--help") else MISUSED
        else:
            listener = workers.listen(settings)
            if settings.workers > 1:
                return workers.supervise(settings, listener)
        if told := device.prepare(training=False):
            print(told, file=sys.stderr)
        from serve import server

        server.serve(settings, listener)
        return DONE
    except DigitjaxError as error:
        print(f"serve: {error}", file=sys.stderr)
        return MISUSED if isinstance(error, UsageError) else FAILED
    except (RuntimeError, AssertionError) as error:
        if not (told := device.trouble(error)):
            raise
        print(f"serve: {told}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
