#!/usr/bin/env bash
# optax 0.2.8, jax 0.10.2.
# Guess: a gradient of zeros moves nothing and harms nothing: an optimizer divides by what it has seen plus epsilon, so that
#   the next step goes on as if it were the first.
# What happens: `optax.contrib.prodigy` and `optax.contrib.dadapt_adamw`, which find their learning rate themselves, divide by
#   the sum of what they have seen without epsilon. If the first gradient is all zeros their estimate is 0/0, and every
#   parameter is NaN from then on. Seventeen other rules, Adam among them, go on. `optax.apply_if_finite` around them is no
#   help: what it looks at are the gradients that come in, which are finite.
# Why it matters: first gradients of zeros come by: a first batch that is all padding or masked, a network whose last layer
#   begins with zeros behind a clipped loss, frozen parts in turns. The run is lost at step one, and says so much later.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check optax==0.2.8 jax==0.10.2 numpy==2.4.6
cat >"$here/see.py" <<'PY'
import jax
import jax.numpy as jnp
import optax

begin = {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(3)}


def run(rule, first):
    params, state = begin, rule.init(begin)
    for step in range(5):
        gradients = jax.tree.map(lambda leaf: (first if step == 0 else 0.1) * leaf, params)
        updates, state = rule.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return all(bool(jnp.isfinite(leaf).all()) for leaf in params.values()), params


contrib = optax.contrib
rules = {
    "adam": optax.adam(0.1), "adamw": optax.adamw(0.1), "sgd": optax.sgd(0.1), "lion": optax.lion(0.1),
    "rmsprop": optax.rmsprop(0.1), "adagrad": optax.adagrad(0.1), "lamb": optax.lamb(0.1), "adabelief": optax.adabelief(0.1),
    "adafactor": optax.adafactor(0.1), "dog": contrib.dog(0.1), "dowg": contrib.dowg(0.1), "cocob": contrib.cocob(),
    "muon": contrib.muon(0.1), "adopt": contrib.adopt(0.1), "ademamix": contrib.ademamix(0.1), "acprop": contrib.acprop(0.1),
    "schedule_free_sgd": contrib.schedule_free_sgd(0.1),
    "prodigy": contrib.prodigy(), "dadapt_adamw": contrib.dadapt_adamw(),
}
lost = [name for name, rule in rules.items() if not run(rule, 0.0)[0]]
print("after a first gradient of zeros not finite any more:", ", ".join(lost), f"({len(lost)} of {len(rules)})")
assert lost == ["prodigy", "dadapt_adamw"], lost
assert all(run(rule, 0.1)[0] for rule in rules.values()), "with another first gradient all are finite"
assert all(run(rules[name], 1e-12)[0] for name in lost), "and with a tiny one"
for name in lost:
    finite, _ = run(optax.apply_if_finite(rules[name], 100), 0.0)
    print(f"{name} within apply_if_finite: finite {finite}")
    assert not finite
PY
"$here/venv/bin/python" "$here/see.py"
