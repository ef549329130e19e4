"""The texts of a new config and a new prefect.yaml: the keys that matter, with comments."""

from __future__ import annotations

import yaml

from tasks.config.settings import DatasetSettings, Settings
from tasks.scaffold.sample import Sample

EXAMPLE_FILE = "passages.jsonl"
_ALL_FIELDS = {"context": "passage", "answer": "ans", "reference": "ref", "id": "doc_id"}

_CONFIG = """\
# The job {name}: `wenti doctor {name}` checks it, `wenti run {name}` runs it.
# A key that is left out has its default; `wenti run {name} --set section.key=value` overrides one.
# Relative paths are resolved from the folder in which Wenti is started.
model:
  # A folder written by PaddleNLP's save_pretrained, or a model that PaddleNLP can download.
  model_name_or_path: {model}

dataset:
  # In a path, {{date}} is the day of the run, and {{date-1}} the day before.
  predict_file: {file}
{fields}
  max_seq_len: {max_seq_len} # tokens of passage and answer; longer rows are cut
  # Fail, before anything is generated, if more rows than this cannot be used (a share or a number).
  # max_rejected: 0.05

decode:
  decoding_strategy: beam_search # or greedy_search (faster), or sampling
  num_beams: {num_beams} # fewer are faster
  max_dec_len: {max_dec_len} # tokens of a question
  num_return_sequences: {num_return_sequences} # questions for each row

predict:
{predict}
  batch_size: {batch_size} # rows; it is halved if the memory is too small

store:
  path: {store} # finished work, which later runs reuse, and the results in runs/

# aggregate:
#   output_path: questions-{{date}}.txt # a copy of the questions, one line for each row
"""

_DEPLOYMENTS = """\
# The deployments that `wenti serve` serves: forms in Prefect's UI, and a schedule.
name: wenti

deployments:
  - name: {name}
    description: The questions of configs/{file}.yaml.
    entrypoint: flows.question_generation.question_generation
    parameters:
      config: {name}
    schedules:
      - cron: 30 1 * * * # minute, hour, day, month, weekday
        timezone: Asia/Shanghai
        active: false # true: every night; needs a file for every day, see dataset.predict_file
    # What the form may set; without it, all but places to write and libraries.
    # allow_overrides: [dataset, decode]

  - name: rerun
    description: The missing shards of a run, or selected shards, with the config stored in the run.
    entrypoint: flows.question_generation.rerun
    schedules: []
"""


def write_config(name: str, settings: Settings, sample: Sample | None) -> str:
    """Return the text of a new config, with the values of `settings`."""
    dataset, decode, predict = settings.dataset, settings.decode, settings.predict
    device = "device: gpu # or devices: [gpu:0, gpu:1], one worker for each"
    if predict.device_kind == "cpu":
        device = f"device: cpu # or gpu\n  cpu_threads: {predict.cpu_threads}"
    return _CONFIG.format(
        name=name,
        model=_as_yaml(settings.model.model_name_or_path),
        file=_as_yaml(dataset.predict_file or EXAMPLE_FILE),
        fields=_write_fields(dataset, sample),
        max_seq_len=dataset.max_seq_len,
        num_beams=decode.num_beams,
        max_dec_len=decode.max_dec_len,
        num_return_sequences=decode.num_return_sequences,
        predict=f"  {device}",
        batch_size=predict.batch_size,
        store=_as_yaml(settings.store.path),
    )


def write_deployments(name: str) -> str:
    """Return the text of a prefect.yaml with a deployment of the config `name`."""
    return _DEPLOYMENTS.format(name=_as_yaml(name), file=name)


def _write_fields(dataset: DatasetSettings, sample: Sample | None) -> str:
    """Return the lines `encoding`, if it is needed, and `fields`, else a comment on them."""
    encoding = "" if dataset.encoding is None else f"  encoding: {dataset.encoding}\n"
    if dataset.fields is not None:
        return f"{encoding}  fields: {_as_yaml(dataset.fields.model_dump(exclude_none=True))}"
    remark = "Names of its fields, if not context, answer, question and id:"
    if sample is not None and not sample.is_usable:
        remark = f"It has the fields {_as_yaml(list(sample.names))}; name those that are meant:"
    return f"{encoding}  # {remark}\n  # fields: {_as_yaml(_ALL_FIELDS)}"


def _as_yaml(value: object) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=float("inf")
    )
    return text.removesuffix("\n").removesuffix("\n...")
