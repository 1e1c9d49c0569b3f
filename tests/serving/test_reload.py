"""Hot reload: versions come and go, policies and labels, and what is wrong keeps nobody waiting."""

import os
import shutil
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, prediction_log_pb2

from serving.config_file import ConfigFile
from serving.errors import ServingError
from serving.manager import ModelManager
from serving.model_config import ModelConfig, models_of_folder, read_model_config
from serving.models import LoadedModel
from serving.store import ModelStore, State
from serving.warmup import MAX_RECORDS, replay
from tests.serving.toys import HalfPlus, OfExamples
from tfrs_sage.errors import InputError
from tfrs_sage.export.warmup import Request, write_warmup

WARM_INPUTS = {"x": np.float32([1.0])}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """SavedModels to be copied: `2` adds 2, and so on."""
    root = tmp_path_factory.mktemp("saved")
    for addend in (1, 2, 3):
        HalfPlus(float(addend)).save(root / str(addend))
    return root


class World:
    """A base path, a manager of it, and a clock."""

    def __init__(self, saved, base) -> None:
        self.saved, self.base, self.now = saved, base, 0.0
        self.store = ModelStore()
        self.manager = ModelManager(
            self.store, replay, max_retries=1, retry_s=10.0, clock=lambda: self.now
        )
        base.mkdir()

    def put(self, version: int, base=None) -> None:
        shutil.copytree(self.saved / str(version), (base or self.base) / str(version))

    def configure(self, **about) -> None:
        self.manager.configure([ModelConfig("half", self.base, **about)])

    def poll(self) -> dict[int, str]:
        """Two looks, so that new files are seen to be still; states by version."""
        self.manager.poll()
        self.manager.poll()
        return {v: state.state.name for v, state in self.store.states("half").items()}

    def of_zero(self, **choice) -> float:
        """What a request for x = 0 gets: the addend of the version that answers."""
        spec = model_pb2.ModelSpec(name="half", version_label=choice.get("label", ""))
        if "label" not in choice:
            spec.ClearField("version_label")
        if "version" in choice:
            spec.version.value = choice["version"]
        return float(self.store.find(spec).run("", {"x": np.float32([0.0])})["y"][0])

    def message(self, version: int) -> str:
        return self.store.states("half")[version].message


@pytest.fixture
def world(saved, tmp_path):
    return World(saved, tmp_path / "half")


def test_a_new_version_takes_the_place_of_the_old(world) -> None:
    world.put(1)
    world.configure()
    assert world.of_zero() == 1
    world.put(2)
    world.manager.poll()  # seen for the first time: it may be half copied
    assert world.of_zero() == 1 and "must settle" in world.message(2)
    assert world.poll() == {1: "END", 2: "AVAILABLE"}
    assert world.of_zero() == 2
    assert world.message(2) == ""
    with pytest.raises(ServingError, match=r"Specific\(half, 1\)"):
        world.of_zero(version=1)
    shutil.rmtree(world.base / "2")  # taken back
    assert world.poll() == {1: "AVAILABLE", 2: "END"}
    assert world.of_zero() == 1


def test_the_old_version_answers_until_the_new_one_does(world) -> None:
    world.put(1)
    world.configure()
    seen = []
    world.manager._prepare = lambda model: seen.append((world.of_zero(), world.store.names()))
    world.put(2)
    world.poll()
    assert seen == [(1.0, {"half": [1]})]


def test_policies(world) -> None:
    for version in (1, 2, 3):
        world.put(version)
    world.configure(num_versions=2)
    assert world.store.names() == {"half": [2, 3]}
    world.configure(policy="all")
    assert world.store.names() == {"half": [1, 2, 3]}
    world.configure(policy="specific", versions=(1, 3), labels={"stable": 1, "canary": 3})
    assert world.store.names() == {"half": [1, 3]}
    assert (world.of_zero(label="stable"), world.of_zero(label="canary")) == (1, 3)
    with pytest.raises(ServingError, match="assign label to version 2 of model half, which is no"):
        world.configure(policy="specific", versions=(1, 3), labels={"stable": 2})
    assert world.of_zero(label="stable") == 1
    world.configure(policy="specific", versions=(1, 9))
    assert world.store.names() == {"half": [1]}
    assert "Version 9 of servable half was not found under" in world.message(9)


def test_another_list_of_models_replaces_the_first(world, tmp_path) -> None:
    world.put(1)
    other = tmp_path / "other"
    world.put(2, other)
    world.configure()
    world.manager.configure([ModelConfig("other", other)])
    assert world.store.names() == {"other": [2]}
    assert world.store.states("half")[1].state is State.END
    with pytest.raises(ServingError, match=r"1 model\(s\) did not .* Could not find base path"):
        world.manager.configure([ModelConfig("gone", tmp_path / "gone")])


def _cut(path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


BREAKAGES = {
    "no saved_model.pb": lambda v: (v / "saved_model.pb").unlink(),
    "half a graph": lambda v: _cut(v / "saved_model.pb", 0.5),
    "noise": lambda v: (v / "saved_model.pb").write_bytes(b"\xff" * 1000),
    "no variables": lambda v: shutil.rmtree(v / "variables"),
    "half the variables": lambda v: _cut(v / "variables/variables.data-00000-of-00001", 0.5),
    "half the index": lambda v: _cut(v / "variables/variables.index", 0.5),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_version_is_told_of_and_the_old_one_answers(world, breakage) -> None:
    world.put(1)
    world.configure()
    world.put(2)
    BREAKAGES[breakage](world.base / "2")
    assert world.poll() == {1: "AVAILABLE", 2: "END"}
    assert world.of_zero() == 1
    told = world.store.states("half")
    assert "Version 2 of servable half could not be loaded" in told[2].message
    assert told[2].code == grpc.StatusCode.INTERNAL.value[0]
    assert told[1].code == 0 and told[1].message == told[2].message
    shutil.rmtree(world.base / "2")
    world.put(2)  # whole
    assert world.poll() == {1: "END", 2: "AVAILABLE"}
    assert world.of_zero() == 2


def test_a_copy_under_way_is_not_loaded(world) -> None:
    world.put(1)
    world.configure()
    copied = []
    for source in sorted((world.saved / "2").rglob("*")):
        target = world.base / "2" / source.relative_to(world.saved / "2")
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            world.manager.poll()
            copied.append(world.store.states("half")[2].state)
    assert set(copied) == {State.START} and len(copied) > 2
    assert world.poll() == {1: "END", 2: "AVAILABLE"}


def test_retries_are_few_and_apart(world) -> None:
    tried = []

    def prepare(model):
        tried.append(world.now)
        raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, "no memory")

    world.put(1)
    world.configure()
    world.manager._prepare = prepare
    world.put(2)
    for world.now in (0.0, 1.0, 2.0, 9.0, 11.5, 12.0, 30.0, 100.0):
        world.manager.poll()
    assert tried == [1.0, 11.5]
    assert world.store.states("half")[2].code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    os.utime(world.base / "2" / "saved_model.pb", (1, 1))  # other files: tried anew
    world.poll()
    assert tried == [1.0, 11.5, 100.0]


def test_a_base_path_that_disappears(world) -> None:
    world.put(1)
    world.configure()
    world.base.rename(world.base.with_name("away"))
    assert world.poll() == {1: "AVAILABLE"}
    assert world.of_zero() == 1
    assert f"Could not find base path {world.base} for servable half" in world.message(1)
    world.base.mkdir()
    world.poll()
    assert world.of_zero() == 1 and "Did you forget to name your leaf" in world.message(1)
    world.put(2)
    assert world.poll() == {1: "END", 2: "AVAILABLE"}
    assert world.message(2) == ""


def test_a_model_that_reaches_for_files(world, tmp_path) -> None:
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.float32, "x")

    def read(x):
        text = tf.io.read_file("/etc/hostname")
        return {"y": x + tf.cast(tf.strings.length(text), tf.float32)}

    function = tf.function(read).get_concrete_function(spec)
    world.put(1)
    world.configure()
    tf.saved_model.save(module, str(tmp_path / "2"), signatures={"serving_default": function})
    shutil.copytree(tmp_path / "2", world.base / "2")
    assert world.poll() == {1: "AVAILABLE", 2: "END"}
    assert world.of_zero() == 1
    for version in (1, 2):
        assert "Found: ReadFile (files)." in world.message(version)
    world.manager._allow_unsafe_ops = True
    world.now += 100
    assert world.poll() == {1: "END", 2: "AVAILABLE"}


def test_warm_up(world) -> None:
    world.put(1)
    world.configure()
    world.put(2)
    wrong = Request("serving_default", {"x": np.float64([1.0])})
    write_warmup(world.base / "2", "half", [Request("", WARM_INPUTS), wrong])
    assert world.poll() == {1: "AVAILABLE", 2: "END"}
    assert "input x must be of type float32. Received: float64" in world.message(2)
    assert world.store.states("half")[2].code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    write_warmup(world.base / "2", "half", [Request("", WARM_INPUTS)] * 3)
    assert world.poll() == {1: "END", 2: "AVAILABLE"}
    model = LoadedModel("half", 2, world.base / "2")
    assert replay(model) == 3

    path = world.base / "2" / "assets.extra" / "tf_serving_warmup_requests"

    def refusal(*records: bytes) -> str:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)
        with pytest.raises(ServingError) as caught:
            replay(model)
        return caught.value.text

    other = prediction_log_pb2.PredictionLog()
    other.session_run_log.SetInParent()
    text = "Unsupported log_type for warmup: session_run_log"
    assert refusal(other.SerializeToString()) == text
    assert "not a PredictionLog" in refusal(b"\xff\xff")
    good = prediction_log_pb2.PredictionLog()
    good.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(WARM_INPUTS["x"]))
    assert refusal(*[good.SerializeToString()] * (MAX_RECORDS + 1)) == (
        f"Number of warmup records exceeds the maximum (1000) at {path}"
    )
    _cut(path, 0.999)
    with pytest.raises(ServingError):
        replay(model)


def test_warm_up_by_examples(tmp_path) -> None:
    OfExamples().save(tmp_path / "1")
    model = LoadedModel("examples", 1, tmp_path / "1")
    path = tmp_path / "1" / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    logs = [prediction_log_pb2.PredictionLog() for _ in range(3)]
    requests = [logs[0].classify_log, logs[1].regress_log, logs[2].multi_inference_log]
    for log in requests:
        log.request.input.example_list.examples.add()
    requests[0].request.model_spec.signature_name = "classify"
    task = requests[2].request.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.name = "examples"

    def write() -> None:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for log in logs:
                writer.write(log.SerializeToString())

    write()
    assert replay(model) == 3
    requests[0].request.model_spec.signature_name = "three"
    write()
    with pytest.raises(ServingError, match="Expected one or two output Tensors, found 3"):
        replay(model)


def test_labels_of_versions_that_do_not_answer_yet(world) -> None:
    world.put(1)
    world.manager._early_labels = True
    world.configure(labels={"stable": 1, "canary": 2})
    assert world.of_zero(label="stable") == 1
    with pytest.raises(ServingError, match=r"Specific\(half, 2\)"):
        world.of_zero(label="canary")
    with pytest.raises(ServingError, match="assign label to version 2 of model half, which is no"):
        world.configure(labels={"stable": 2})  # an old label stays with what answers
    assert world.of_zero(label="stable") == 1
    world.put(2)
    world.configure(policy="all", labels={"stable": 1, "canary": 2})
    assert world.of_zero(label="canary") == 2


def test_a_file_of_models_that_changes(world, tmp_path, caplog) -> None:
    world.put(1)
    path = tmp_path / "models.config"
    config = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }}'
    one = f"model_config_list {{{{ {config} }}}}"
    path.write_text(one.format("half", world.base))
    file, calls = ConfigFile(path), []

    def configure(configs) -> None:
        calls.append([config.name for config in configs])
        world.manager.configure(configs)

    configure(file.read())
    file.look(configure)  # the same
    assert calls == [["half"]]
    for wrong in ("nonsense", one.format("gone", tmp_path / "gone")):
        path.write_text(wrong)
        file.look(configure)
        file.look(configure)  # is told once
    assert len(caplog.records) >= 2 and "could not be followed" in caplog.text
    assert calls == [["half"], ["gone"]]
    path.write_text(one.format("other", world.base))
    file.follow(configure, 0.01)
    end = time.monotonic() + 60
    while "other" not in world.store.names() and time.monotonic() < end:
        time.sleep(0.01)
    file.stop()
    assert world.store.names() == {"other": [1]}
    path.unlink()
    file.look(configure)
    assert world.store.names() == {"other": [1]}


def test_the_file_of_models(tmp_path) -> None:
    path = tmp_path / "models.config"

    def read(text: str) -> list[ModelConfig]:
        path.write_text(f"model_config_list {{ {text} }}")
        return read_model_config(path)

    one = 'config {{ name: "{}" base_path: "/m" model_platform: "tensorflow" {} }}'
    labels = 'version_labels { key: "stable" value: 4 }'
    assert read(one.format("a", "") + one.format("b", "model_version_policy { all {} }")) == [
        ModelConfig("a", tmp_path.__class__("/m")),
        ModelConfig("b", tmp_path.__class__("/m"), policy="all"),
    ]
    (two,) = read(one.format("a", "model_version_policy { latest { num_versions: 2 } }"))
    assert two.wanted([9, 10, 2]) == [9, 10]
    (three,) = read(one.format("a", "model_version_policy { specific { versions: 4 } }" + labels))
    assert three.wanted([4, 5]) == [4] and three.labels == {"stable": 4}
    for text, wrong in (
        (one.format("a", "") * 2, "Illegal to list model a multiple times in config list"),
        (one.format("", ""), "every model must have a name"),
        ('config { name: "a" base_path: "/m" }', "Illegal setting neither ModelServerConfig"),
        (one.format("a", "").replace("tensorflow", "x"), 'must have model_platform: "tensorflow"'),
        (one.format("a", "").replace("/m", "m"), "to have an absolute path or URI; got base_path"),
        (one.format("a", "model_version_policy { specific {} }"), "must name a version"),
        ("nonsense", "models.config"),
    ):
        with pytest.raises(InputError, match=wrong):
            read(text)


def test_the_models_of_a_folder(world, tmp_path) -> None:
    world.put(1)
    (tmp_path / "half" / ".4.123").mkdir()
    (tmp_path / "half" / "9999999999999999999999").mkdir()
    (tmp_path / "empty" / "assets").mkdir(parents=True)
    (config,) = models_of_folder(tmp_path)
    world.manager.configure([config])
    assert world.store.names() == {"half": [1]}
    with pytest.raises(InputError, match="must hold models as <name>/<version>/"):
        models_of_folder(tmp_path / "empty")
