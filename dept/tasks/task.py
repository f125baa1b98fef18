"""Task: how a row of a data set becomes source and target texts, and which metrics score it.

The conversion is the release's: `name: value` parts joined by single spaces, without a task prefix. One YAML
file describes each task; this module computes everything else from its fields.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dept.errors import DataError, TaskError
from dept.metrics.captions import CAPTION_METRICS
from dept.metrics.scores import LABEL_METRICS, METRICS, NUMBER_METRICS, TEXT_METRICS, VQA_METRICS
from dept.tasks.fields import Fields, closest, shown, texts
from dept.tasks.preprocess import PREPROCESS
from dept.tasks.schema import COLUMN_TYPES, check_value
from dept.tasks.template import as_text, columns_of, render

Row = Mapping[str, Any]
LabelValue = str | int | bool
ImageValue = str | bytes | Mapping[str, Any]

SPLIT_RULES = ("given", "halve", "carve")
VERBALIZERS = ("digits", "words")
HUB_READERS = ("vqa", "coco_captions")  # the readers in `dept.data.karpathy`
_HIDDEN = (None, -1, "")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_LABEL_TYPES = ("str", "int", "bool")
_TEMPLATE_TYPES = ("str", "int", "float", "bool", "list[str]")


@dataclass(frozen=True)
class Example:
    """One input and what it should give: `answers` are all that count as right, `target` is trained on.

    Without a known label (prediction), `target` is "" and `answers` is empty. `image` is the row's own
    value, which `dept.data.images` reads.
    """

    source: str
    target: str
    answers: tuple[str, ...]
    label: int | None = None
    image: ImageValue | None = None


@dataclass(frozen=True)
class SplitRule:
    """How the hub's splits become train, validation and test (Karimi Mahabadi et al. 2021; paper, Table 7).

    given: the named splits as they are. halve: `validation` becomes validation and test.
    carve: 1,000 rows of `train` become validation, the split named by `test` is test.
    """

    rule: str = "given"
    train: str = "train"
    validation: str = "validation"
    test: str = "test"
    max_train_rows: int | None = None

    def __post_init__(self) -> None:
        if self.rule not in SPLIT_RULES:
            raise TaskError(f"splits.rule: unknown {shown(self.rule)}: {closest(self.rule, SPLIT_RULES)}")
        if self.max_train_rows is not None and self.rule != "carve":
            raise TaskError(f"splits.max_train_rows: is for the rule carve, not {self.rule}; leave it out")


@dataclass(frozen=True)
class Task:
    """A task that checks itself; TaskError names the bad field.

    columns: the data set's columns and their types (schema.py).
    optional_columns: columns that a row may lack or have as null. label_column: the label, or the answers.
    labels: names in the order of the label index, None for generated targets.
    label_values: the values of the label column, one for each of `labels`.
    verbalizers: "digits" and "words", one text a label.
    hub_rows: rows of each split on the hub.
    hub_reader: the reader of a hub data set with another schema (`dept.data.karpathy`).
    num_beams: beams of generation; 1 is greedy search.
    train_on_each_answer: make a training example of each answer, with it as the target (an image's captions).
    closed_answers: how many of the most frequent training answers the decoding answer_list chooses from.
    answer_list: those answers; a run fills it in.
    """

    name: str
    columns: Mapping[str, str]
    template: str
    label_column: str
    metrics: tuple[str, ...]
    main_metric: str
    max_seq_length: int = 256
    max_target_length: int = 16
    title: str = ""
    benchmark: str = "own"
    labels: tuple[str, ...] | None = None
    label_values: tuple[LabelValue, ...] | None = None
    verbalizers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    preprocess: str | None = None
    optional_columns: tuple[str, ...] = ()
    source_task: bool = False
    hub_id: str | None = None
    hub_config: str | None = None
    hub_revision: str | None = None
    hub_rows: Mapping[str, int] = field(default_factory=dict)
    splits: SplitRule = SplitRule()
    hub_reader: str | None = None
    num_beams: int = 1
    train_on_each_answer: bool = False
    closed_answers: int | None = None
    answer_list: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise TaskError(f"name: {shown(self.name)} is no task name; use letters, digits, _ and - (up to 64)")
        if self.hub_id is not None and not _HUB_ID.fullmatch(self.hub_id):
            raise TaskError(f"hub_id: {shown(self.hub_id)} is no hub id; write it as owner/name")
        if self.hub_reader is not None and self.hub_reader not in HUB_READERS:
            raise TaskError(f"hub_reader: unknown {shown(self.hub_reader)}: {closest(self.hub_reader, HUB_READERS)}")
        self._check_columns()
        self._check_labels()
        self._check_metrics()

    def examples(
        self, row: Row, verbalizer: str = "digits", require_target: bool = True, *, training: bool = False
    ) -> list[Example]:
        """The examples of one row, in the hub's schema: one, or one per answer (record; captions in `training`).

        With `require_target=False`, a row without a label (or with a hidden one: -1, "", null) will do.
        Raises DataError naming the column, TaskError for an unknown verbalizer.
        """
        words = self.verbalizer(verbalizer)
        self._check_schema(row)
        prepared = self._prepare(row)
        if require_target:
            self._require_target(row, prepared[0])
        converted = [self._example(item, words) for item in prepared]
        if training and self.train_on_each_answer:
            return [dataclasses.replace(one, target=answer) for one in converted for answer in one.answers]
        return converted

    def check_row(self, row: Row, require_target: bool = True) -> None:
        """Raise DataError naming the column, what was expected and what was found.

        With `require_target`, a missing or hidden label is an error too.
        """
        self._check_schema(row)
        if require_target:
            self._require_target(row, self._prepare(row)[0])

    def check_image(self, where: str, row: Row) -> None:
        """Raise DataError, starting with `where`, unless the row's image is a path or holds an image file's bytes."""
        if self.image_column is not None:
            name = f"{where}: {self.name}: column {self.image_column!r}"
            check_value(name, row.get(self.image_column), "image")

    def has_label(self, row: Row) -> bool:
        """False for a row without a label, or with a hidden one (-1, "", null, no answers).

        Raises DataError for a row that is not in the schema.
        """
        self._check_schema(row)
        return self._has_target(self._prepare(row)[0])

    def verbalizer(self, name: str) -> tuple[str, ...] | None:
        """The labels' texts, in the order of `labels`; None for a task whose targets are generated."""
        if self.labels is None:
            return None
        if name not in self.verbalizers:
            raise TaskError(f"{self.name}: no verbalizer {shown(name)}; it has {', '.join(self.verbalizers)}")
        return self.verbalizers[name]

    @property
    def image_column(self) -> str | None:
        """The column with a row's image; None for a text task."""
        return next((column for column, kind in self.columns.items() if kind == "image"), None)

    @property
    def decoding(self) -> str:
        """The default decoding: "label_scoring" for a task with labels, "generate" otherwise."""
        return "generate" if self.labels is None else "label_scoring"

    def to_dict(self) -> dict[str, Any]:
        """The task in JSON types, as an adapter folder stores it; `from_dict` gives an equal task back."""
        plain = {key: _plain(value) for key, value in dataclasses.asdict(self).items()}
        return {key: value for key, value in plain.items() if value not in (None, [], {})}

    def identity(self) -> dict[str, Any]:
        """The values that identify the task in keys: `to_dict` without newer fields that have their default.

        A field that is added to this class names its schema (`metadata={"since": 2}`), so that older keys stay valid.
        """
        newer = {item.name: item.default for item in dataclasses.fields(self) if item.metadata.get("since", 1) > 1}
        return {key: value for key, value in self.to_dict().items() if key not in newer or value != newer[key]}

    @classmethod
    def from_dict(cls, data: object, where: str = "task", name: str | None = None) -> Task:
        """A task from a file's content; `name` is used if the content has none.

        Raises TaskError, one line that says the file (`where`), the field and what to do.
        """
        try:
            return cls(**_read(Fields(data, [item.name for item in dataclasses.fields(cls)]), name))
        except TaskError as error:
            raise TaskError(f"{where}: {' '.join(str(error).split())}") from None

    def _check_schema(self, row: Row) -> None:
        if not isinstance(row, Mapping):
            raise DataError(f"{self.name}: expected a row with columns, found {shown(row)}")
        for column, kind in self.columns.items():
            value = row.get(column)
            # A label may be missing unless a target is required, which _require_target checks.
            if value is None and (column in self.optional_columns or column == self.label_column):
                continue
            if column not in row:
                has = ", ".join(shown(key) for key in list(row)[:12]) or "no columns"
                raise DataError(f"{self.name}: column {column!r} is missing; the row has {has}")
            check_value(f"{self.name}: column {column!r}", value, kind)
        label = row.get(self.label_column)
        if self.label_values is not None and label not in self.label_values and label not in _HIDDEN:
            known = ", ".join(repr(value) for value in self.label_values[:12])
            raise DataError(
                f"{self.name}: column {self.label_column!r}: expected one of {known}, found {shown(label)}"
            )

    def _require_target(self, row: Row, prepared: Row) -> None:
        if not self._has_target(prepared):
            label = shown(row[self.label_column]) if self.label_column in row else "no such column"
            raise DataError(
                f"{self.name}: column {self.label_column!r}: no label here, found {label}; "
                "training and evaluation need labelled rows"
            )

    def _prepare(self, row: Row) -> list[dict[str, Any]]:
        return [dict(row)] if self.preprocess is None else PREPROCESS[self.preprocess].apply(dict(row))

    def _has_target(self, prepared: Row) -> bool:
        value = prepared.get(self.label_column)
        if self.labels is not None:
            return value in (self.label_values or ())
        if isinstance(value, list | tuple):
            return any(answer.strip() for answer in value)
        return value is not None and value != ""

    def _example(self, row: Row, words: tuple[str, ...] | None) -> Example:
        source = render(self.template, row)
        value = row.get(self.label_column)
        image = row[self.image_column] if self.image_column is not None else None
        if words is not None and self.label_values is not None:
            if value not in self.label_values:
                return Example(source, "", (), image=image)
            label = self.label_values.index(value)
            return Example(source, words[label], (words[label],), label, image)
        answers = value if isinstance(value, list | tuple) else [value]
        answer_texts = tuple(as_text(answer) for answer in answers if answer is not None and as_text(answer).strip())
        return Example(source, answer_texts[0] if answer_texts else "", answer_texts, image=image)

    def _check_columns(self) -> None:
        for column, kind in self.columns.items():
            if kind not in COLUMN_TYPES:
                raise TaskError(
                    f"columns.{column[:40]}: unknown type {shown(kind)}: {closest(str(kind), COLUMN_TYPES)}"
                )
        if self.label_column not in self.columns:
            raise TaskError(f"label_column: {shown(self.label_column)} is not in columns; {self._columns_are()}")
        for column in self.optional_columns:
            if column not in self.columns:
                raise TaskError(f"optional_columns: {shown(column)} is not in columns; {self._columns_are()}")
        if self.preprocess is not None:
            self._check_preprocess(self.preprocess)
        names = columns_of(self.template)
        if list(self.columns.values()).count("image") > 1:
            raise TaskError("columns: two are images; a task has one at most")
        if not names and self.image_column is None:
            raise TaskError('template: has no {column} in it; write for instance "sentence: {sentence}"')
        for name in names:
            if name not in self.columns:
                raise TaskError(f"template: {{{name[:40]}}} is not in columns; {self._columns_are()}")
            if name == self.label_column:
                raise TaskError(f"template: {{{name}}} is the label column, which would give the answer away")
            if self.columns[name] not in _TEMPLATE_TYPES:
                raise TaskError(f"template: {{{name}}} is of type {self.columns[name]}, which is no text")

    def _check_preprocess(self, name: str) -> None:
        if name not in PREPROCESS:
            raise TaskError(f"preprocess: unknown {shown(name)}: {closest(name, PREPROCESS)}")
        for column, kind in PREPROCESS[name].needs.items():
            if self.columns.get(column) != kind or column in self.optional_columns:
                raise TaskError(f"preprocess: {name} needs a column {column} of type {kind}, not an optional one")

    def _columns_are(self) -> str:
        return f"columns are {', '.join(str(column)[:40] for column in list(self.columns)[:20])}"

    def _check_labels(self) -> None:
        kind = self.columns[self.label_column]
        if self.labels is None:
            if self.label_values is not None or self.verbalizers:
                raise TaskError("labels: missing, though label_values or verbalizers are there; list the label names")
            becomes_texts = self.preprocess in ("squad", "vqa")
            if kind in ("bool", "list[int]", "image") or (kind in ("list", "mapping") and not becomes_texts):
                raise TaskError(f"label_column: a {kind} column needs `labels`; else use str, list[str], int or float")
            return
        if kind not in _LABEL_TYPES:
            raise TaskError(f"label_column: labels need a column of type str, int or bool, not {kind}")
        if len(self.labels) < 2:
            raise TaskError("labels: at least two are needed")
        _check_distinct("labels", self.labels, self.labels)
        if self.label_values is None:
            raise TaskError("label_values: missing; list the data's value for each label")
        _check_distinct("label_values", self.label_values, self.labels)
        for value in self.label_values:
            if type(value).__name__ != kind:
                raise TaskError(f"label_values: {shown(value)} does not fit the label column's type, {kind}")
            if value in _HIDDEN:
                raise TaskError(f"label_values: {shown(value)} stands for a hidden label; use another value")
        if set(self.verbalizers) != set(VERBALIZERS):
            raise TaskError(f"verbalizers: {' and '.join(VERBALIZERS)} are what there can be; list one text a label")
        for name, words in self.verbalizers.items():
            _check_distinct(f"verbalizers.{name}", words, self.labels)
            for word in words:
                if word != " ".join(word.split()):
                    raise TaskError(f"verbalizers.{name}: {shown(word)} has stray spaces; single spaces inside only")

    def _check_metrics(self) -> None:
        fitting = _fitting_metrics(self.labels, self.columns[self.label_column])
        for metric in self.metrics:
            if metric not in METRICS:
                raise TaskError(f"metrics: unknown {shown(metric)}: {closest(metric, METRICS)}")
            if metric not in fitting:
                raise TaskError(f"metrics: {metric} does not fit these targets; use {', '.join(fitting)}")
        if "f1" in self.metrics and len(self.labels or ()) != 2:
            raise TaskError("metrics: f1 is for two labels; use macro_f1")
        if self.main_metric not in self.metrics:
            raise TaskError(f"main_metric: {shown(self.main_metric)} is not in metrics ({', '.join(self.metrics)})")


def _read(fields: Fields, name: str | None) -> dict[str, Any]:
    """The constructor's arguments, with defaults that follow from the columns and labels."""
    for key in ("columns", "template", "label_column"):
        fields.required(key)
    columns = fields.mapping("columns", of_texts=True)
    label_column = fields.text("label_column") or ""
    labels = fields.texts("labels")
    values = fields.scalars("label_values")
    stated_verbalizers = {
        name: texts(f"verbalizers.{name}", label_texts) for name, label_texts in fields.mapping("verbalizers").items()
    }
    verbalizers = {name: words for name, words in stated_verbalizers.items() if words is not None}
    kind = str(columns.get(label_column))
    if labels is not None:
        defaults: dict[str, tuple[LabelValue, ...]] = {
            "int": tuple(range(len(labels))),
            "bool": (False, True),
        }
        values = values or defaults.get(kind, labels)
        verbalizers.setdefault("digits", tuple(str(index) for index in range(len(labels))))
        verbalizers.setdefault("words", labels)
    metrics = fields.texts("metrics", _fitting_metrics(labels, kind)[:1]) or ()
    rows = fields.mapping("hub_rows")
    rule = Fields(fields.mapping("splits"), [item.name for item in dataclasses.fields(SplitRule)], "splits.")
    return {
        "name": fields.text("name", name) or "",
        "title": fields.text("title", fields.text("name", name)),
        "benchmark": fields.text("benchmark", "own"),
        "columns": columns,
        "optional_columns": fields.texts("optional_columns", None) or (),
        "template": fields.text("template"),
        "preprocess": fields.text("preprocess"),
        "label_column": label_column,
        "labels": labels,
        "label_values": values,
        "verbalizers": verbalizers,
        "metrics": metrics,
        "main_metric": fields.text("main_metric", metrics[0]),
        "max_seq_length": fields.positive("max_seq_length", 256),
        "max_target_length": fields.positive("max_target_length", 16 if labels is not None else 64),
        "source_task": fields.flag("source_task"),
        "num_beams": fields.positive("num_beams", 1),
        "train_on_each_answer": fields.flag("train_on_each_answer"),
        "closed_answers": fields.positive("closed_answers"),
        "answer_list": fields.texts("answer_list") or (),
        "hub_reader": fields.text("hub_reader"),
        "hub_id": fields.text("hub_id"),
        "hub_config": fields.text("hub_config"),
        "hub_revision": fields.text("hub_revision"),
        "hub_rows": {split: Fields(rows, list(rows), "hub_rows.").positive(split) or 0 for split in rows},
        "splits": SplitRule(
            rule=rule.text("rule", "given") or "",
            train=rule.text("train", "train") or "",
            validation=rule.text("validation", "validation") or "",
            test=rule.text("test", "test") or "",
            max_train_rows=rule.positive("max_train_rows"),
        ),
    }


def _fitting_metrics(labels: tuple[str, ...] | None, kind: str) -> tuple[str, ...]:
    """The metrics that fit these labels, or generated targets of the label column's type; the usual one first."""
    if labels is not None:
        return LABEL_METRICS
    return NUMBER_METRICS if kind in ("int", "float") else TEXT_METRICS + VQA_METRICS + CAPTION_METRICS


def _check_distinct(field_name: str, values: tuple[Any, ...], labels: tuple[str, ...]) -> None:
    if len(values) != len(labels):
        raise TaskError(f"{field_name}: {len(values)} given for {len(labels)} labels; give one each")
    if len(set(values)) != len(values):
        raise TaskError(f"{field_name}: two are the same; each label needs its own")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
