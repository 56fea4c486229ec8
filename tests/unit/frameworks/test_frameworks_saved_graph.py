"""SavedModels: no op that reaches outside is ever run, and no layer is hidden by its spelling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import UsageError
from edgekit.frameworks._saved_graph import check_graph, layer_configs
from edgekit.frameworks.keras import import_tensorflow, import_tf_keras, load_model, quiet

pytestmark = pytest.mark.tensorflow

SAVE, RESTORE = "__inference__traced_save_7", "__inference__traced_restore_9"


class Sketch:
    """A saved_model.pb in the making."""

    def __init__(self, *, modern: bool = True) -> None:
        import_tensorflow()
        from tensorflow.core.protobuf import saved_model_pb2

        self.model = saved_model_pb2.SavedModel()
        self.graph = self.model.meta_graphs.add()
        if modern:
            self.graph.object_graph_def.nodes.add()
        self.function(SAVE, "ShardedFilename", "SaveV2", "MergeV2Checkpoints")
        self.function(RESTORE, "RestoreV2")
        self.function("__inference_call_3", "MatMul")

    def function(self, name: str, *ops: str) -> Any:
        made = self.graph.graph_def.library.function.add()
        made.signature.name = name
        for op in ops:
            made.node_def.add(name=op.lower(), op=op)
        return made

    def node(self, name: str, op: str, *inputs: str) -> Any:
        return self.graph.graph_def.node.add(name=name, op=op, input=inputs)

    def check(self, folder: Path) -> str:
        """What `check_graph` says, without the path; '' where it says nothing."""
        (folder / "saved_model.pb").write_bytes(self.model.SerializeToString())
        try:
            check_graph(folder)
        except UsageError as error:
            return error.message.removeprefix(f"{folder}: ")
        return ""


def _refused(op: str) -> str:
    return (
        f"its graph has the operation '{op}', which reaches outside the model, "
        "and edgekit never runs that from a file"
    )


def test_what_tensorflow_adds_is_allowed(tmp_path: Path) -> None:
    sketch = Sketch()
    sketch.node("saver", "StatefulPartitionedCall").attr["f"].func.name = SAVE
    assert sketch.check(tmp_path) == ""


@pytest.mark.parametrize(
    "op",
    [
        *("WriteFile", "ReadFile", "PyFunc", "PyFuncStateless", "EagerPyFunc", "MatchingFiles"),
        *("TextLineDataset", "TFRecordReaderV2", "CreateSummaryFileWriter", "DebugIdentityV3"),
        *("RpcCall", "SaveV2", "RestoreV2", "MergeV2Checkpoints"),
    ],
)
def test_an_op_that_reaches_outside_is_named(tmp_path: Path, op: str) -> None:
    sketch = Sketch()
    sketch.function("__inference__initializer_4", "NoOp", op)
    assert sketch.check(tmp_path) == _refused(op)


def test_the_saving_functions_hide_no_other_op(tmp_path: Path) -> None:
    sketch = Sketch()
    sketch.function("__inference__traced_save_8", "SaveV2", "WriteFile")
    assert sketch.check(tmp_path) == _refused("WriteFile")


def test_the_saving_functions_are_called_by_nothing_else(tmp_path: Path) -> None:
    by_attribute, by_name, by_object, by_gradient, swapped = (Sketch() for _ in range(5))
    caller = by_attribute.function("__inference__initializer_4", "StatefulPartitionedCall")
    caller.node_def[0].attr["f"].func.name = SAVE
    by_name.function("__inference__initializer_4", SAVE)
    by_object.graph.object_graph_def.concrete_functions[SAVE].SetInParent()
    by_gradient.graph.graph_def.library.gradient.add(gradient_func=SAVE)
    for sketch in (by_attribute, by_name, by_object, by_gradient):
        assert sketch.check(tmp_path) == _refused(SAVE)
    saver = swapped.function("__inference__traced_save_8", "SaveV2")
    saver.attr["api_implements"].s = b"x"
    assert swapped.check(tmp_path) == _refused("SaveV2")


def test_version_1_runs_its_graph(tmp_path: Path) -> None:
    sketch = Sketch(modern=False)
    sketch.node("save/SaveV2", "SaveV2")
    sketch.node("save/RestoreV2", "RestoreV2")
    sketch.node("save/restore_all", "NoOp", "^save/RestoreV2")
    sketch.node("y", "Identity", "x:0")
    sketch.graph.saver_def.restore_op_name = "save/restore_all"
    sketch.graph.signature_def["serving_default"].outputs["y"].name = "y:0"
    assert sketch.check(tmp_path) == ""
    sketch.node("x", "Identity", "^save/SaveV2")
    assert sketch.check(tmp_path) == _refused("SaveV2")


def test_printing_goes_to_the_terminal_only(tmp_path: Path) -> None:
    sketch = Sketch()
    printed = sketch.function("__inference_call_4", "PrintV2").node_def[0]
    printed.attr["output_stream"].s = b"stderr"
    assert sketch.check(tmp_path) == ""
    printed.attr["output_stream"].s = b"file:///tmp/x"
    assert sketch.check(tmp_path) == _refused("PrintV2")


def test_assets_lie_in_the_folder(tmp_path: Path) -> None:
    sketch = Sketch()
    asset = sketch.graph.asset_file_def.add(filename="words.txt")
    assert sketch.check(tmp_path) == ""
    asset.filename = "../../etc/passwd"
    assert sketch.check(tmp_path) == "'../../etc/passwd' in it points out of the folder"


def test_a_damaged_graph(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\xff")
    with pytest.raises(UsageError, match=r": saved_model\.pb is cut off or damaged \("):
        check_graph(tmp_path)


def test_an_initializer_that_writes_is_not_run(tmp_path: Path) -> None:
    tf = import_tensorflow()
    target = tmp_path / "written"

    class Resource(tf.saved_model.experimental.TrackableResource):  # type: ignore[misc]
        def _create_resource(self) -> Any:
            return tf.raw_ops.MutableHashTableV2(key_dtype=tf.string, value_dtype=tf.int64)

        def _initialize(self) -> int:
            tf.io.write_file(str(target), "x")
            return 1

    module = tf.Module()
    module.resource = Resource()
    spec = tf.TensorSpec([1, 4], tf.float32, name="x")
    module.run = tf.function(lambda x: {"y": x * 2.0}, input_signature=[spec])
    with quiet():
        tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.run})
    target.unlink(missing_ok=True)
    with pytest.raises(UsageError, match="has the operation 'WriteFile', which reaches outside"):
        load_model(tmp_path / "m")
    assert not target.exists()


def test_code_in_layers_is_found_however_it_is_spelled(tmp_path: Path) -> None:
    tf_keras = import_tf_keras()
    with quiet():
        data = tf_keras.Input((4,))
        model = tf_keras.Model(data, tf_keras.layers.Lambda(lambda x: x * 2.0, name="twice")(data))
        model.save(str(tmp_path))
    from tf_keras.protobuf import saved_metadata_pb2

    file = tmp_path / "keras_metadata.pb"
    metadata = saved_metadata_pb2.SavedMetadata.FromString(file.read_bytes())
    for node in metadata.nodes:
        node.metadata = json.dumps(json.loads(node.metadata), indent=3).replace("{", "{ \n")
    file.write_bytes(metadata.SerializeToString())
    assert len(layer_configs(tmp_path)) == len(metadata.nodes)
    loaded = load_model(tmp_path)
    assert loaded.library == "saved_model"
    assert loaded.notes == (
        "opened by its signature, not as layers: the layer 'twice' holds Python code, "
        "which edgekit never runs from a file",
    )


def test_layers_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "keras_metadata.pb"
    assert layer_configs(tmp_path) == []
    file.write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r": keras_metadata\.pb is cut off or damaged \("):
        layer_configs(tmp_path)
    import_tf_keras()
    from tf_keras.protobuf import saved_metadata_pb2

    metadata = saved_metadata_pb2.SavedMetadata()
    metadata.nodes.add(metadata="{'a'")
    file.write_bytes(metadata.SerializeToString())
    with pytest.raises(UsageError, match=r": keras_metadata\.pb is not readable \(Expecting prop"):
        layer_configs(tmp_path)
