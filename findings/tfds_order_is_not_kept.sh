#!/usr/bin/env bash
# tensorflow-datasets 4.9.10, array_record 0.8, without TensorFlow.
# Guess: a builder that yields examples with the keys 0, 1, 2 ... and is read as a random-access data source gives example i at
#   place i: no shuffling was asked for, and "the last 5,000 images of MNIST" means the same for everybody.
# What happens: preparing shuffles by a hash of the keys; the data source is in the order of the hashes. It is fixed, and another.
# Why it matters: whoever holds back "the last 5,000" of TFDS's mnist validates on other digits than whoever reads the files, and
#   indices of papers (label errors, forgetting) point at other images. The index has to be a feature of its own.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check tensorflow-datasets==4.9.10 array-record importlib_resources
cat >"$here/see.py" <<'PY'
import sys
import numpy as np
import tensorflow_datasets as tfds

class Numbers(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"index": np.int64}))
    def _split_generators(self, manager):
        return {"train": ((index, {"index": index}) for index in range(1000))}
    def _generate_examples(self):
        raise NotImplementedError

builder = Numbers(data_dir=sys.argv[1], file_format="array_record")
builder.download_and_prepare()
order = [int(row["index"]) for row in builder.as_data_source("train")]
print("the first places hold", order[:8], "; the last hundred hold", sum(index >= 900 for index in order[-100:]), "of the last hundred")
assert sorted(order) == list(range(1000))
assert order != list(range(1000))
assert "tensorflow" not in sys.modules
PY
"$here/venv/bin/python" "$here/see.py" "$here/data" 2>/dev/null
