"""The service: Litestar in front of a digitjax predictor. `python -m serve` starts it."""
