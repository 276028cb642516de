"""Every format gives the same curves, and every mistake is one clear line."""

from __future__ import annotations

import json
import os
import pickle

import pytest

from convlint.curves.assemble import assemble
from convlint.curves.readers import open_log
from convlint.errors import UserError

LOSSES = [2.0 * 0.9**k + 0.1 for k in range(30)]


def read(file, **options):
    return assemble(open_log(str(file), **options), str(file))


def names(curves):
    return {(curve.name, curve.quantity, curve.split) for curve in curves.curves}


def test_csv_of_keras(tmp_path):
    file = tmp_path / "log.csv"
    rows = [f"{k},0.9,{loss},0.8,{loss + 0.2}" for k, loss in enumerate(LOSSES)]
    file.write_text("\n".join(["epoch,accuracy,loss,val_accuracy,val_loss", *rows]))
    seen = read(file)
    assert seen.format == "csv"
    assert ("loss", "loss", "train") in names(seen)
    assert ("val_accuracy", "score", "validation") in names(seen)
    assert [(p.training, p.validation) for p in seen.pairs] == [("loss", "val_loss")]


def test_metrics_of_lightning_have_empty_cells_and_two_training_losses(tmp_path):
    file = tmp_path / "metrics.csv"
    lines = ["epoch,step,train_loss_epoch,train_loss_step,val_loss,lr-Adam"]
    for k, loss in enumerate(LOSSES):
        lines += [f"{k},{10 * k + 5},,{loss},,0.001", f"{k},{10 * k + 9},{loss},,{loss + 0.1},"]
    file.write_text("\n".join(lines) + "\n")
    seen = read(file)
    assert [(p.training, p.validation) for p in seen.pairs] == [("train_loss_epoch", "val_loss")]
    assert ("lr-Adam", "learning rate", "") in names(seen)
    assert {c.name: c.last_step for c in seen.curves if c.quantity == "loss"} == {
        "train_loss_step": 295,
        "train_loss_epoch": 299,
        "val_loss": 299,
    }


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters(tmp_path, delimiter):
    file = tmp_path / "log.txt"
    rows = [delimiter.join(("step", "loss"))]
    rows += [delimiter.join((str(k), str(loss))) for k, loss in enumerate(LOSSES)]
    file.write_text("\n".join(rows))
    assert read(file).format == "csv"
    assert read(file).curves[0].points == 30


def test_json_lines_with_nested_records_and_a_last_line_cut_off(tmp_path):
    file = tmp_path / "log.jsonl"
    lines = [json.dumps({"step": k, "train": {"loss": loss}}) for k, loss in enumerate(LOSSES)]
    file.write_text("\n".join(lines) + '\n{"step": 30, "tra')
    seen = read(file)
    assert names(seen) == {("train/loss", "loss", "train")}
    assert seen.curves[0].points == 30


def test_trainer_state_says_how_many_steps_are_planned(tmp_path):
    file = tmp_path / "trainer_state.json"
    history = []
    for k, loss in enumerate(LOSSES):
        history.append({"step": 10 * k, "epoch": k / 3, "loss": loss, "learning_rate": 1e-4})
        history.append({"step": 10 * k, "epoch": k / 3, "eval_loss": loss + 0.1})
    file.write_text(json.dumps({"max_steps": 5000, "log_history": history}, indent=2))
    seen = read(file)
    assert seen.planned_steps == 5000
    assert [(p.training, p.validation) for p in seen.pairs] == [("loss", "eval_loss")]


@pytest.mark.parametrize("wrapped", [True, False])
def test_history_of_keras(tmp_path, wrapped):
    file = tmp_path / "history.json"
    columns = {"loss": LOSSES, "val_loss": [loss + 0.1 for loss in LOSSES]}
    file.write_text(json.dumps({"history": columns} if wrapped else columns))
    seen = read(file)
    assert seen.curves[0].last_step == 30
    assert len(seen.pairs) == 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("step {k}: train loss {v:.4f}, val loss {v:.4f}", {"train loss", "val loss"}),
        (
            "Epoch {k}/30 - 5s - loss: {v:.4f} - accuracy: 0.91 - val_loss: {v:.4f}",
            {"loss", "accuracy", "val_loss"},
        ),
        ("{{'loss': {v:.4f}, 'learning_rate': 5e-05, 'epoch': {k}.0}}", {"loss", "learning_rate"}),
        ("Train Epoch: 1 [{k}/60000 (0%)]\tLoss: {v:.6f}", {"train loss"}),
        ("2024-01-01 12:00:00,123 INFO iter={k} loss={v:.4f} lr=1e-3", {"loss", "lr"}),
        ("iter {k}: loss {v:.4f}, time 123.45ms, mfu 12.3%", {"loss"}),
        (
            "\x1b[32mepoch {k}\x1b[0m | Train Loss: {v:.3f} | Val. Loss: {v:.3f}",
            {"train loss", "val. loss"},
        ),
        ("train: loss {v:.4f} | valid: loss {v:.4f}", {"train loss", "valid loss"}),
        ("loss {v:.4f} grad_norm 1.25", {"loss", "grad_norm"}),
        ("[epoch {k}] loss tensor({v:.4f}, device='cuda:0')", {"loss"}),
    ],
)
def test_lines_that_loops_print(tmp_path, line, expected):
    file = tmp_path / "train.log"
    printed = [line.format(k=k, v=value) for k, value in enumerate(LOSSES)]
    file.write_text("starting\n" + "\n".join(printed) + "\ndone in 12.5 s\n")
    seen = read(file)
    assert seen.format == "text"
    assert {curve.name for curve in seen.curves} == expected


def test_the_mnist_example_of_pytorch(tmp_path):
    file = tmp_path / "train.log"
    lines = []
    for epoch in range(1, 4):
        lines += [
            f"Train Epoch: {epoch} [{640 * b}/60000 ({b}%)]\tLoss: 0.{90 - b}" for b in range(20)
        ]
        lines += ["", "Test set: Average loss: 0.0543, Accuracy: 9821/10000 (98%)", ""]
    file.write_text("\n".join(lines))
    seen = read(file)
    assert {curve.name for curve in seen.curves} == {"train loss", "test average loss"}
    train = seen.curves[0]
    assert (train.points, train.last_step) == (60, 60)


def test_a_pattern_names_the_numbers(tmp_path):
    file = tmp_path / "train.log"
    file.write_text("".join(f"<{k}> obj~{loss:.4f}\n" for k, loss in enumerate(LOSSES)))
    with pytest.raises(UserError, match="--pattern"):
        read(file)
    seen = read(file, pattern=r"<(?P<step>\d+)> obj~(?P<loss>\S+)")
    assert (seen.curves[0].name, seen.curves[0].last_step) == ("loss", 29)


def test_utf16_as_a_windows_shell_writes_it(tmp_path):
    file = tmp_path / "train.log"
    file.write_bytes("".join(f"loss: {loss:.4f}\r\n" for loss in LOSSES).encode("utf-16"))
    assert read(file).curves[0].points == 30


def test_a_resumed_run_counts_its_later_rows(tmp_path):
    file = tmp_path / "log.csv"
    rows = [(k, 1.0) for k in range(20)] + [(k, 2.0) for k in range(18, 40)]
    file.write_text("step,loss\n" + "".join(f"{k},{loss}\n" for k, loss in rows))
    seen = read(file)
    assert seen.curves[0].points == 40
    assert any("go back" in remark for remark in seen.remarks)


def test_rows_of_another_schema_in_between(tmp_path):
    file = tmp_path / "log.csv"
    lines = ["step,loss", *(f"{k},{loss}" for k, loss in enumerate(LOSSES[:10]))]
    lines += ["step,loss,extra", *(f"{k + 10},{loss},1" for k, loss in enumerate(LOSSES[10:]))]
    lines.insert(5, "oops,broken,row")
    file.write_text("\n".join(lines))
    assert read(file).curves[0].points >= 20


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.csv", b"", "the log is empty"),
        ("blank.log", b"\n \n\n", "the log is empty"),
        ("latin.csv", "step,loss,größe\n".encode("latin-1") + b"1,2,3\n", "not UTF-8"),
        ("late.log", b"loss: 1.0\n" * 500 + b"\xff\xfe\n", "late.log:501: cannot decode"),
        ("binary.log", bytes(range(256)) * 20, "not UTF-8"),
        ("broken.json", b'{"history": {"loss": [1, 2', "cannot parse: not JSON"),
        ("other.json", b'{"name": "x"}', "no log of a known shape"),
        ("table.csv", b"1,2\n3,4\n", "no header"),
        ("deep.json", b"[" * 100_000, "nested so deep"),
        ("deep.jsonl", b'{"a":' * 100_000, "no number"),
        ("history.pkl", pickle.dumps({"loss": [1.0, 0.5]}), "json.dump(history.history, file)"),
        ("log.csv.gz", b"\x1f\x8b\x08\x00", "gunzip -c"),
        ("arrays.npz", b"PK\x03\x04\x14\x00", "a zip archive"),
        (
            "countdown.csv",
            b"step,loss\n" + b"".join(b"%d,0.5\n" % k for k in range(30, 0, -1)),
            "sort the rows by step",
        ),
        ("header.csv", b"step,loss\n", "no number"),
        ("names.csv", b"step,foo\n1,2\n2,3\n", "no column is known"),
        ("prose.txt", b"Nothing to see here.\n" * 30, "no line says a loss"),
        (
            "mixed.jsonl",
            b'{"step": 1, "loss": 1}\nnot json\nnor this\n{"loss": 2}\n',
            "no JSON object",
        ),
    ],
)
def test_what_is_no_log_is_said_in_one_line(tmp_path, name, data, message):
    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(UserError) as error:
        read(file)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_a_column_as_pandas_writes_it(tmp_path):
    file = tmp_path / "history.json"
    columns = {"loss": LOSSES, "val_loss": LOSSES}
    file.write_text(
        json.dumps({name: {str(k): v for k, v in enumerate(c)} for name, c in columns.items()})
    )
    seen = read(file)
    assert [(c.name, c.points, c.last_step) for c in seen.curves] == [
        ("loss", 30, 30.0),
        ("val_loss", 30, 30.0),
    ]
    assert seen.curves[0].shape[0] == LOSSES[0]


def test_fractions_behind_a_comma_between_semicolons(tmp_path):
    file = tmp_path / "excel.csv"
    rows = (f"{k};{loss:.4f}".replace(".", ",") for k, loss in enumerate(LOSSES))
    file.write_text("\n".join(["step;loss", *rows]))
    assert read(file).curves[0].highest == pytest.approx(max(LOSSES), abs=1e-4)


def test_numbers_too_large_to_be_squared_count_as_infinite(tmp_path):
    file = tmp_path / "log.csv"
    losses = [*LOSSES, *(10.0 ** (30 * k) for k in range(1, 11))]
    file.write_text("step,loss\n" + "".join(f"{k},{v!r}\n" for k, v in enumerate(losses)))
    curve = read(file).curves[0]
    assert (curve.lost, curve.lost_from, curve.kind) == (7, 33.0, "diverging")


def test_rows_are_counted_where_steps_do_not(tmp_path):
    file = tmp_path / "log.csv"
    rows = (f"{k // 10},{loss}" for k, loss in enumerate(LOSSES))
    file.write_text("\n".join(["epoch,loss", *rows]))
    seen = read(file)
    assert seen.curves[0].last_step == 30.0
    assert any("rows are counted" in remark for remark in seen.remarks)


def test_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "missing.csv")
    with pytest.raises(UserError, match="no TensorBoard event file"):
        read(tmp_path)


def test_a_log_of_only_nan_is_read(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("step,loss\n" + "".join(f"{k},nan\n" for k in range(20)))
    curve = read(file).curves[0]
    assert (curve.lost, curve.lost_from, curve.first) == (20, 0.0, None)


class TestEventFiles:
    @pytest.fixture(autouse=True)
    def reader(self):
        pytest.importorskip("tensorboard")

    def event_file(self, folder, tag="loss/train", values=LOSSES):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder.mkdir(parents=True, exist_ok=True)
        writer = EventFileWriter(str(folder))
        for step, value in enumerate(values):
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(step=step, wall_time=1.0, summary=summary))
        writer.close()
        return next(folder.glob("*tfevents*"))

    def test_scalars(self, tmp_path):
        seen = read(self.event_file(tmp_path))
        assert seen.format == "tensorboard"
        assert [(c.name, c.points, c.last_step) for c in seen.curves] == [("loss/train", 30, 29.0)]

    def test_a_directory_of_two_splits(self, tmp_path):
        self.event_file(tmp_path / "train", "epoch_loss")
        self.event_file(tmp_path / "validation", "epoch_loss")
        seen = read(tmp_path)
        assert [(p.training, p.validation) for p in seen.pairs] == [
            ("train/epoch_loss", "validation/epoch_loss")
        ]

    def test_a_file_cut_off_within_a_record_ends_there(self, tmp_path):
        file = self.event_file(tmp_path)
        data = file.read_bytes()
        file.write_bytes(data[: len(data) - 20])
        seen = read(file)
        assert 20 <= seen.curves[0].points < 30
        assert any("cut off or broken" in remark for remark in seen.remarks)

    def test_files_without_a_scalar_beside_others_are_no_fault(self, tmp_path):
        self.event_file(tmp_path / "first")
        self.event_file(tmp_path / "second", values=())
        seen = read(tmp_path)
        assert [c.points for c in seen.curves] == [30]
        assert seen.remarks == ()

    def test_a_directory_without_a_scalar(self, tmp_path):
        self.event_file(tmp_path, values=())
        with pytest.raises(UserError, match="no scalar"):
            read(tmp_path)

    def test_a_file_that_is_none(self, tmp_path):
        file = tmp_path / "events.out.tfevents.1"
        file.write_bytes(os.urandom(400))
        with pytest.raises(UserError, match="event file"):
            read(file)
