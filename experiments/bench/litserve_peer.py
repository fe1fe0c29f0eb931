"""A peer of the service on LitServe, in the peers' environment: python litserve_peer.py SIDE PORT FOLDER."""

import sys
from pathlib import Path

import litserve
from serving_peer import answer, jax_model


class Api(litserve.LitAPI):
    """LitServe hands it to another process, where the model is."""

    def setup(self, device):  # noqa: ARG002
        self.model = jax_model(Path(sys.argv[3]))
        answer(self.model, [0] * 784)

    def decode_request(self, request):
        return request["image"]

    def predict(self, x):
        return answer(self.model, x)

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu")
    server.run(port=int(sys.argv[2]), generate_client_file=False, log_level="error")
