"""The service as others' programs see it: Triton's client, and a fuzzer that believes every word of /schema."""

import asyncio
import base64
import importlib
import io
import json
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digitjax.data.datasets import Splits
from tests.serve.serving import Server, file_of, running

KEY = {"authorization": "Bearer secret"}
INFER = "/v2/models/digitjax/infer"


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """In a thread: a browser's test before this one leaves a loop that runs here."""
    with ThreadPoolExecutor(1) as beside:
        return beside.submit(asyncio.run, coroutine).result()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(feedback_dir=tmp_path_factory.mktemp("feedback"), api_key="secret") as started:
        started.client.headers["authorization"] = "Bearer secret"
        yield started


@pytest.fixture(scope="module")
def images(splits: Splits) -> np.ndarray:
    return splits.test.images[:7]


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_works_unchanged(server, images, binary):
    from tritonclient import http as triton

    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("digitjax")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        described = client.get_model_metadata("digitjax")
        assert described["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 28, 28]}]
        given = triton.InferInput("image", list(images.shape), "UINT8")
        given.set_data_from_numpy(images, binary_data=binary)
        wanted = [triton.InferRequestedOutput(output["name"], binary_data=binary) for output in described["outputs"]]
        answer = client.infer("digitjax", [given], outputs=wanted, request_id="seven", headers={**KEY})
        everything = client.infer("digitjax", [given], headers={**KEY})
        wrong = triton.InferInput("image", [1, 28, 28], "FP64")
        wrong.set_data_from_numpy(np.zeros((1, 28, 28), np.float64))
        with pytest.raises(triton.InferenceServerException, match="UINT8"):
            client.infer("digitjax", [wrong], headers={**KEY})
        version = described["versions"][0]
        assert client.is_model_ready("digitjax", version)
        assert client.get_model_metadata("digitjax", version) == described
        assert client.get_model_config("digitjax")["input"][0]["dims"] == [28, 28]
        assert client.get_model_repository_index(headers={**KEY})[0]["name"] == "digitjax"
        packed = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}
        again = client.infer("digitjax", [given], model_version=version, headers={**KEY}, **packed)
        with pytest.raises(triton.InferenceServerException, match="no version"):
            client.infer("digitjax", [given], model_version="7", headers={**KEY})
        with pytest.raises(triton.InferenceServerException, match="metrics"):
            client.get_inference_statistics("digitjax")
    probabilities, digits = answer.as_numpy("probabilities"), answer.as_numpy("digit")
    assert answer.get_response()["id"] == "seven"
    assert (probabilities.dtype, digits.dtype) == (np.float32, np.int64)
    assert np.array_equal(everything.as_numpy("probabilities"), probabilities)
    assert np.array_equal(again.as_numpy("probabilities"), probabilities)
    rows = server.client.post("/predict/batch", json={"images": images.tolist()}).json()["predictions"]
    assert [row["digit"] for row in rows] == digits.tolist()
    np.testing.assert_allclose([row["probabilities"] for row in rows], probabilities, atol=1e-6)


def test_tritons_asyncio_client_works_unchanged(server, images):
    from tritonclient import http as triton
    from tritonclient.http import aio

    async def ask() -> list[np.ndarray]:
        async with aio.InferenceServerClient(server.url.removeprefix("http://")) as client:
            assert await client.is_model_ready("digitjax")
            given = triton.InferInput("image", [1, 28, 28], "UINT8")
            answers = []
            for image in images:
                given.set_data_from_numpy(image[None])
                answers.append((await client.infer("digitjax", [given], headers={**KEY})).as_numpy("digit"))
            return answers

    rows = server.client.post("/predict/batch", json={"images": images.tolist()}).json()["predictions"]
    assert np.concatenate(run(ask())).tolist() == [row["digit"] for row in rows]


@pytest.mark.slow  # its import alone takes seconds
@pytest.mark.filterwarnings("default")  # of what it imports
@pytest.mark.parametrize("binary", [True, False])
def test_kserves_client_works_unchanged(server, images, binary):
    from kserve import InferenceRESTClient, InferInput, InferRequest
    from kserve.inference_client import RESTConfig

    async def ask() -> Any:
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        assert await client.is_server_live(server.url)
        assert await client.is_server_ready(server.url)
        assert await client.is_model_ready(server.url, "digitjax")
        given = InferInput("image", list(images.shape), "UINT8")
        given.set_data_from_numpy(images, binary_data=binary)
        answer = await client.infer(server.url, InferRequest("digitjax", [given]), "digitjax", headers={**KEY})
        with pytest.raises(Exception, match="UINT8"):
            wrong = InferInput("image", [1, 28, 28], "FP64", np.zeros((1, 28, 28)).tolist())
            await client.infer(server.url, InferRequest("digitjax", [wrong]), "digitjax", headers={**KEY})
        await client.close()
        return answer

    answer = run(ask())
    found = {output.name: output.as_numpy() for output in answer.outputs}
    rows = server.client.post("/predict/batch", json={"images": images.tolist()}).json()["predictions"]
    assert found["digit"].tolist() == [row["digit"] for row in rows]
    np.testing.assert_allclose(found["probabilities"], [row["probabilities"] for row in rows], atol=1e-6)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (1, 28, 28), (784,)], ids=str)
@pytest.mark.parametrize("datatype", ["UINT8", "FP32", "INT64"])
def test_whatever_form_the_arrays_have_the_answer_is_the_same(server, images, datatype, shape, binary):
    from tritonclient import http as triton
    from tritonclient.utils import triton_to_np_dtype

    given = triton.InferInput("image", [len(images), *shape], datatype)
    given.set_data_from_numpy(images.reshape(-1, *shape).astype(triton_to_np_dtype(datatype)), binary_data=binary)
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        found = client.infer("digitjax", [given], headers={**KEY}).as_numpy("digit").tolist()
    rows = server.client.post("/predict/batch", json={"images": images.tolist()}).json()["predictions"]
    assert found == [row["digit"] for row in rows]


@pytest.mark.parametrize("binary", [True, False])
def test_picture_files_are_bytes(server, images, binary):
    from tritonclient import http as triton

    files = [file_of(np.kron(255 - image, np.ones((5, 5), np.uint8))) for image in images]
    given = triton.InferInput("image", [len(files)], "BYTES")
    content = files if binary else [base64.b64encode(file) for file in files]
    given.set_data_from_numpy(np.array(content, object), binary_data=binary)
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        found = client.infer("digitjax", [given], headers={**KEY}).as_numpy("digit").tolist()
    sent = [("files", file) for file in files]
    rows = server.client.post("/predict/batch", files=sent).json()["predictions"]
    assert found == [row["digit"] for row in rows]


def test_optional_fields_may_be_null(server):
    body = {"id": None, "parameters": None, "outputs": None, "inputs": [tensor(parameters=None)]}
    assert server.client.post(INFER, json=body).status_code == 200


def tensor(**changes: object) -> dict:
    return {"name": "image", "datatype": "UINT8", "shape": [1, 28, 28], "data": [0] * 784} | changes


@pytest.mark.parametrize(
    "data", [[0] * 784, [[0] * 28] * 28, [[[0] * 28] * 28]], ids=["flat", "an image", "nested as the shape"]
)
def test_data_may_be_nested_or_flat(server, data):
    answer = server.client.post(INFER, json={"inputs": [tensor(data=data)]})
    assert [output["shape"] for output in answer.json()["outputs"]] == [[1, 10], [1]]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": []},
        {"inputs": [tensor(), tensor()]},
        {"inputs": [tensor(name="picture")]},
        {"inputs": [tensor(shape=[2, 28, 28])]},
        {"inputs": [tensor(shape=[-1, 28, 28])]},
        {"inputs": [tensor(shape=[0, 28, 28], data=[])]},
        {"inputs": [tensor(shape=[1, 785])]},
        {"inputs": [tensor(shape=[])]},
        {"inputs": [tensor(datatype="FP32", data=[0.5] * 784)]},
        {"inputs": [tensor(datatype="FP32", data=["1"] * 784)]},
        {"inputs": [tensor(datatype="FP32", data=[True] * 784)]},
        {"inputs": [tensor(datatype="BYTES", shape=[1], data=["no base64!"])]},
        {"inputs": [tensor(datatype="BYTES", shape=[1], data=[7])]},
        {"inputs": [tensor(datatype="BYTES", shape=[2], data=["AAAA"])]},
        {"inputs": [tensor(shape=[10**30, 28, 28])]},
        {"inputs": [tensor(data=[256] * 784)]},
        {"inputs": [tensor(data=[[0] * 783, [0]])]},
        {"inputs": [tensor(data=[0, [0] * 783])]},
        {"inputs": [tensor(data=[[[0] * 784], []])]},
        {"inputs": [tensor(data=None, parameters={"binary_data_size": 784})]},
        {"inputs": [tensor(data=None, parameters={"binary_data_size": "784"})]},
        {"inputs": [tensor()], "outputs": [{"name": "logits"}]},
    ],
    ids=lambda body: json.dumps(body)[:70],
)
def test_a_request_that_does_not_fit_is_refused_in_the_protocols_words(server, body):
    answer = server.client.post(INFER, json=body)
    assert answer.status_code in (400, 413)
    assert answer.json().keys() == {"error"}


@pytest.mark.parametrize("length", ["-1", "x", "999999", "1e3", "٣", "9" * 30])
def test_a_wrong_length_of_the_json_is_refused(server, length):
    headers = {"inference-header-content-length": length.encode()}
    assert server.client.post(INFER, json={"inputs": [tensor()]}, headers=headers).status_code == 400


def test_other_models_are_not_found_in_the_protocols_words(server):
    for path in ("/v2/models/other", "/v2/nowhere"):
        answer = server.client.get(path)
        assert answer.status_code == 404
        assert answer.json().keys() == {"error"}


def test_the_schema_names_what_there_is(server):
    schema = server.client.get("/schema").json()
    assert schema == server.client.get("/schema/openapi.json").json()
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            assert operation["description"], path
            answer = server.client.request(method, path)
            assert answer.status_code not in (404, 405, 500), path
            assert str(answer.status_code) in operation["responses"], (path, answer.status_code)
            assert method == "get" or path == "/admin/reload" or operation["requestBody"]["content"]


@pytest.mark.slow
def test_a_fuzzer_finds_no_word_of_the_schema_that_is_not_kept(server, tmp_path):
    config = tmp_path / "schemathesis.toml"
    # That a picture must have a digit's size, and a form few parts, is more than a schema can say.
    config.write_text(
        "[checks]\n"
        'positive_data_acceptance.expected-statuses = ["2xx", 422]\n'
        "negative_data_rejection.expected-statuses = [400, 401, 405, 413, 415, 422]\n"
    )
    command = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config), "run", "--no-color"]
    command += [f"{server.url}/schema", "--max-examples", "40", "--seed", "1", "-H", "Authorization: Bearer secret"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:]
    assert not [line for line in server.lines if line.get("status", 0) >= 500]


@pytest.mark.slow
def test_a_client_made_of_our_schema_works_as_it_comes(server, images, tmp_path, monkeypatch):
    """By openapi-python-client: JSON, a form, several at once, a page, an explanation, and what is refused."""
    (tmp_path / "schema.json").write_text(json.dumps(server.client.get("/schema").json()))
    (tmp_path / "config.yml").write_text("post_hooks: []\n")
    words = ["generate", "--path", "schema.json", "--output-path", "made", "--config", "config.yml"]
    program = Path(sys.executable).with_name("openapi-python-client")
    subprocess.run([program, *words], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.syspath_prepend(tmp_path / "made")
    made = importlib.import_module("digitjax_client")
    models, types = (importlib.import_module(f"digitjax_client.{name}") for name in ("models", "types"))

    def ask(route: str, body: Any) -> Any:
        with made.AuthenticatedClient(server.url, token="secret") as client:
            return importlib.import_module(f"digitjax_client.api.default.{route}").sync(client=client, body=body)

    rows = images.reshape(len(images), -1).tolist()
    expected = server.client.post("/predict/batch", json={"images": rows}).json()["predictions"]
    answers = [ask("predict_predict", models.PredictPredictJsonBody(image=row)) for row in rows]
    assert [answer.digit for answer in answers] == [one["digit"] for one in expected]
    assert [answer.verdict for answer in answers] == [one["verdict"] for one in expected]
    given = [answer.probabilities for answer in answers]
    np.testing.assert_allclose(given, [one["probabilities"] for one in expected], atol=1e-5)
    picture = types.File(io.BytesIO(file_of(images[0])), "seven.png", "image/png")
    seen = ask("predict_predict", models.PredictPredictFilesBody(file=picture))
    assert seen.digit == expected[0]["digit"]
    several = ask("predict_batch_predict_batch", models.PredictBatchPredictBatchJsonBody(images=[*rows, [1]]))
    assert [one.digit for one in several.predictions[:-1]] == [one["digit"] for one in expected]
    assert "784" in several.predictions[-1].error
    number = types.File(io.BytesIO(file_of(255 - np.hstack(list(images[:3])))), "number.png", "image/png")
    reading = ask("read_reading", models.ReadReadingFilesBody(file=number))
    assert reading.text.isdigit() or not reading.lines
    assert len(ask("explain_explanation", models.ExplainExplanationJsonBody(image=rows[0])).heatmap) == 28
    refused = ask("predict_predict", models.PredictPredictJsonBody(image=[1, 2]))
    assert (refused.status, "784" in refused.detail) == (400, True)
