"""What does each public function take and give? The pages of the reference, out of the docstrings (half a minute).

python -W error -m experiments.docs [FOLDER]            (make docs; into build/docs)
"""

import argparse
import importlib
import pkgutil
from pathlib import Path

import pdoc
import pdoc.render

import digitjax


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the reference, offline.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/docs"))
    folder = parser.parse_args().folder
    # What is loaded when it is asked for must be there to be documented; what a room does not export is private.
    for name in digitjax.__all__:
        setattr(digitjax, name, getattr(digitjax, name))
    rooms = [room.name for room in pkgutil.iter_modules(digitjax.__path__, "digitjax.") if room.ispkg]
    for room in rooms:
        for name in importlib.import_module(room).__all__:
            importlib.import_module(f"{room}.{name}")
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc("digitjax", *rooms, "serve", output_directory=folder)
    print(folder / "index.html")


if __name__ == "__main__":
    main()
