"""What every room stands on: errors that say the next step, the config that is a run, the machine and its processes.

- `errors`: errors that say the next step
- `config`: every knob of a run, frozen and hashable
- `disk`: files that are written whole or not at all
- `device`: devices: which compiled path they get, how arrays lie on them
- `hosts`: several processes as one training: joining, agreeing, one that is lost
"""

__all__ = ["config", "device", "disk", "errors", "hosts"]  # pyright: ignore[reportUnsupportedDunderAll]
