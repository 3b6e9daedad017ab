"""Cards say what a run says, whatever it says, and nothing that is in a name becomes a sign."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from cxrssl.config.load import to_yaml
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.core.errors import RunError
from cxrssl.push.cards import Label, backbone_card, detector_card
from cxrssl.push.evidence import Answer, Evidence, read_evidence
from made_runs import made_result as result
from support import RTDETR, finetune_recipe, pretrain_recipe

LABEL = Label("org/name", "cxrssl-0123456789ab", "other")
HASH = "0123456789abcdef" * 4
PROVENANCE: dict[str, Any] = {
    "git": {"sha": "c0ffee" * 7, "dirty": True},
    "python": "3.11",
    "versions": {"cxrssl": "0.1.0", "torch": "2.14.1"},
    "device": "cuda",
    "num_processes": 2,
    "num_threads": 1,
    "data_fingerprint": HASH,
    "data_origin": "VinDr-CXR",
    "images": {"train": {"count": 20, "sha256": HASH}, "test": {"count": 10, "sha256": HASH}},
}
RECORD = {
    **{"source": "runs/ssl/backbone", "matched": ["a", "b"], "missing": [], "unexpected": ["c"]},
    **{"reshaped": [], "new": [], "source_sha256": HASH, "loaded_sha256": HASH, "arrived": True},
}
SSL = {
    **{"loss": 2.5, "chance_loss": 3.85, "rankme_start": 1.8, "rankme": 21.6},
    **{"num_images": 147, "num_steps": 180, "chunk_images": 24},
}


def evidence(
    recipe: FinetuneRecipe | PretrainRecipe,
    metrics: dict[str, Any],
    answer: Answer | None = None,
    **changes: object,
) -> Evidence:
    """Return what a run would say of itself."""
    provenance = {key: value for key, value in (PROVENANCE | changes).items() if value is not None}
    return Evidence("det", recipe, provenance, (RECORD,), "random", metrics, answer)


def write_run(run: Path, recipe: FinetuneRecipe, transfers: list[dict[str, Any]]) -> None:
    """Write the folder of a run that has no metrics yet."""
    (run / "detector").mkdir(parents=True)
    (run / "recipe.yaml").write_text(to_yaml(recipe))
    (run / "transfer.json").write_text(json.dumps({"start": "random", "transfers": transfers}))
    (run / "provenance.json").write_text(json.dumps(PROVENANCE))


def test_a_detectors_card_has_the_scores_with_their_intervals() -> None:
    recipe = finetune_recipe(Path("s"), "data.label_fraction=0.2")
    card = detector_card(evidence(recipe, result(0.25)), LABEL)
    assert "| mAP50 | 0.250 | 0.230 to 0.270 |" in card
    assert "| Nodule | 5 | 0.250 | 0.230 to 0.270 | 0.250 | 0.230 to 0.270 |" in card
    assert "fine-tuned on 20 % of the training labels (20 films, 80 boxes)" in card
    assert "| runs/ssl/backbone | 2 | 0 | 0 | 1 | `0123456789abcdef` |" in card
    assert "| train | 20 | `0123456789abcdef` |" in card
    assert "cuda, 2 processes, commit c0ffeec0ffee and changes" in card
    assert "and so taken for it (Nguyen et al., arXiv 2012.15029)" in card
    assert "named no licence for the weights" in card
    assert "No image of the test split was read by two readers" in card
    assert "Not measured here: no report counts this run." in card
    assert "made images" not in card
    data = ModelCard(card).data
    (first, *_) = data.eval_results
    assert (first.dataset_type, first.dataset_split, first.metric_value) == (
        *("vindr-cxr", "test", 0.25),
    )
    assert first.metric_args == {"interval_95": [0.23, 0.27]}


def test_a_card_has_the_strictest_terms_of_what_taught_and_says_of_how_many_films() -> None:
    recipe = finetune_recipe(Path("s"))
    metrics = result(0.25) | {"unlabelled": {"images": 40}}
    made = evidence(recipe, metrics, data_origin="phantom")
    assert "made images" in detector_card(made, LABEL)
    taught = evidence(
        recipe, metrics, data_origin="phantom", unlabelled={"data_origin": "VinDr-CXR"}
    )
    card = detector_card(taught, LABEL)
    assert "with a teacher on 40 films without labels" in card
    assert "arXiv 2012.15029" in card


def test_a_start_of_which_a_part_is_left_says_so_and_keeps_its_record() -> None:
    run = evidence(finetune_recipe(Path("s")), result(0.25))
    body = {"keep_stages": 2, "num_stages": 5, "kept": ["a"], "drawn": [], "random": ["b"]}
    part = replace(run, start="imagenet", body=body)
    card = detector_card(part, LABEL)
    assert "start was ImageNet weights; of the backbone 2 of 5 stages kept the weights" in card
    assert json.loads(part.files["evidence/transfer.json"])["body"] == body
    assert "body" not in json.loads(run.files["evidence/transfer.json"])
    drawn = detector_card(replace(run, start="mean_var", body=body | {"keep_stages": 0}), LABEL)
    assert "random weights with the mean and variance of pretrained ones; of the" in drawn


def test_scores_that_there_are_not_are_dashes_and_no_results() -> None:
    recipe = finetune_recipe(Path("s"))
    card = detector_card(evidence(recipe, result(None)), LABEL)
    assert "| mAP50 | - | - |" in card
    assert "mAP on the test split is not known" in card
    assert "model-index" not in card


def test_a_gates_card_says_what_p_is_and_what_it_did() -> None:
    recipe = finetune_recipe(Path("s"))
    plain = result(0.25)
    assert "image-level gate" not in detector_card(evidence(recipe, plain), LABEL)
    counts = {"num_with_boxes": 12, "num_without_boxes": 8}
    gate = {
        **{"power": 1.5, "drop_below": 0.1, "weight_decay": 0.1, "temperature": 1.2},
        "train": counts,
        "test": counts | {"auroc": 0.875, "calibration_error": None},
    }
    without = dict.fromkeys(plain["metrics"], 0.2)
    card = detector_card(evidence(recipe, plain | {"gate": gate, "without_gate": without}), LABEL)
    assert "multiplies all of its scores as p^1.5, and an image with p below 0.1 gets" in card
    assert "on the 12 labelled images with boxes and the 8 without" in card
    assert "| AUROC of p (12 images with boxes, 8 without) | 0.875 |" in card
    assert "| calibration error of p | - |" in card
    assert "| mAP50 without the gate | 0.200 |" in card
    assert "holds p as `finding_probability`" in card


def test_a_run_of_before_says_that_it_has_no_record() -> None:
    recipe = finetune_recipe(Path("s"), RTDETR, "optim.name=adamw", "optim.momentum=0.9")
    run = evidence(recipe, result(0.1), data_origin=None, images=None, git=None)
    card = detector_card(run, LABEL)
    assert "RT-DETRv2" in card
    assert "The run has no record of its source" in card
    assert "| not on record | | |" in card
    assert "2 processes. `evidence/`" in card


def test_names_are_words_in_a_card_and_metadata_stays_yaml() -> None:
    metrics = result(0.1)
    for key in ("per_class", "classes"):
        metrics[key] = {"<b>|{{ 1 + 1 }}|`x`\n# y": metrics[key]["Nodule"]}
    answer = Answer("pl*an", "more | *labels*", ("a <script>",), ("Be*ware",), None)
    card = detector_card(evidence(finetune_recipe(Path("s")), metrics, answer), LABEL)
    assert r"| \<b\>\|{{ 1 + 1 }}\|\`x\` # y | 5 |" in card
    assert r"more \| \*labels\*" in card
    assert r"* a \<script\>" in card
    assert r"* **Be\*ware**" in card
    assert r"From the plan pl\*an, whose answer" in card
    assert "label_efficiency.png" not in card
    assert ModelCard(card).data.pipeline_tag == "object-detection"


def test_readers_stand_beside_the_detector() -> None:
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    readers = {
        "images": 9,
        "between_readers": {"f1_at_0.4": score},
        "model": {"f1_at_0.4": score | {"value": 0.3}},
        "verdict": "the model agrees less",
        "pairs": [{"a": "R8", "b": "R9", "images": 9, "f1_at_0.4": score}],
    }
    card = detector_card(
        evidence(finetune_recipe(Path("s")), result(0.1) | {"readers": readers}), LABEL
    )
    assert "| readers against each other | 0.500 | 0.400 to 0.600 |" in card
    assert "| R8 against R9 (9 images) | 0.500 |" in card
    assert "The model agrees less." in card


def test_a_backbones_card_tells_of_the_detector_with_most_labels() -> None:
    recipe = pretrain_recipe(Path("s"), "intensity.equalize=true")
    alone = backbone_card(evidence(recipe, SSL), LABEL, [])
    assert "Not measured: no detector that started from it" in alone
    assert "cv2.equalizeHist" in alone
    assert "| method | SimCLR, arXiv 2002.05709 |" in alone  # the run names none: it is an old one
    assert "| loss at the end | 2.500 |" in alone
    assert "| the same by chance | 3.850 |" in alone
    assert "| RankMe at the end | 21.6 |" in alone
    assert "at the start |" not in alone  # an old run's start had no statistics
    probe = {"probe_auroc_start": 0.634, "probe_auroc": 0.712, "probe_findings": 6}
    probed = backbone_card(evidence(recipe, SSL | probe), LABEL, [])
    assert "| RankMe at the start | 1.8 |\n| RankMe at the end | 21.6 |" in probed
    assert "| probe AUROC at the start | 0.634 |\n| probe AUROC at the end | 0.712 |" in probed
    assert "| findings that it counts | 6 |" in probed
    assert ModelCard(alone).data.library_name == "timm"
    assert ModelCard(alone).data.eval_results is None
    detectors = [evidence(finetune_recipe(Path("s")), result(value)) for value in (0.4, 0.2)]
    # A pool of another source: the scores are of the detector's.
    card = backbone_card(evidence(recipe, SSL, data_origin="unknown"), LABEL, detectors)
    assert ModelCard(card).data.eval_results[0].dataset_type == "vindr-cxr"
    assert "the most of 2 such runs" in card
    assert "| mAP50 | 0.400 |" in card
    assert "are in `evidence/detector_metrics.json`" in card
    plain = pretrain_recipe(Path("s"), "intensity.equalize=false")
    assert "cv2" not in backbone_card(evidence(plain, SSL), LABEL, [])


@pytest.mark.parametrize(
    ("source", "base"),
    [("timm resnet50.a1_in1k", "timm/resnet50.a1_in1k"), ("hf-hub:org/x@abc", "org/x")],
)
def test_weights_of_the_hub_are_the_base_of_what_came_from_them(source: str, base: str) -> None:
    run = evidence(pretrain_recipe(Path("s")), SSL)
    run = Evidence(**vars(run) | {"transfers": ({**RECORD, "source": source},)})
    assert ModelCard(backbone_card(run, LABEL, [])).data.base_model == base
    assert source.split()[-1] in backbone_card(run, LABEL, []).replace("\\", "")


def test_what_goes_along_holds_no_path_and_the_recipe_still_runs(tmp_path: Path) -> None:
    run = tmp_path / "plan" / "det"
    recipe = finetune_recipe(tmp_path / "store", f"init.backbone={tmp_path}/plan/ssl/backbone")
    write_run(run, recipe, [RECORD | {"source": f"{tmp_path}/plan/ssl/backbone"}])
    with pytest.raises(RunError, match="holds no finished run"):
        read_evidence(run)
    (run / "metrics.json").write_text(json.dumps(result(0.1)))
    run_evidence = read_evidence(run)
    for path, file in run_evidence.files.items():
        assert str(tmp_path).encode() not in file, path
    assert isinstance(run_evidence.recipe, FinetuneRecipe)
    assert run_evidence.recipe.init.backbone == Path("ssl/backbone")
    assert run_evidence.recipe.data.store == Path("store")
    assert run_evidence.answer is None
    report = {"plan": "p", "answer": "yes", "remarks": [], "cautions": ["one seed"]}
    for counted, text in ((["p4-det"], None), (["det"], "yes")):
        (run.parent / "report.json").write_text(json.dumps(report | {"counted": counted}))
        answer = read_evidence(run).answer
        assert (answer and answer.text) == text
    (run / "transfer.json").write_text("{")
    with pytest.raises(RunError, match=r"transfer\.json is not JSON"):
        read_evidence(run)


def test_readers_who_are_called_by_their_names_are_numbered(tmp_path: Path) -> None:
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    readers = {
        "pairs": [{"a": "Dr Miller", "b": "R8", "f1_at_0.4": score}],
        "leave_one_out": [{"reader": "R8"}, {"reader": "Dr Miller"}],
    }
    run = tmp_path / "det"
    write_run(run, finetune_recipe(Path("s")), [])
    (run / "metrics.json").write_text(json.dumps(result(0.1) | {"readers": readers}))
    run_evidence = read_evidence(run)
    assert b"Miller" not in b"".join(run_evidence.files.values())
    assert run_evidence.metrics["readers"]["pairs"][0] == {"a": "R2", "b": "R1", "f1_at_0.4": score}


def test_no_name_on_a_card_commands_a_terminal() -> None:
    recipe = finetune_recipe(Path("s"), "data.label_fraction=0.2")
    run = evidence(recipe, result(0.25))
    record = RECORD | {"source": "runs/\x1b]0;pwn\x07/\u202ebackbone"}
    card = detector_card(replace(run, transfers=(record,)), LABEL)
    assert not set("\x1b\x07\u202e") & set(card)
    assert "pwn" in card


def test_a_card_names_the_method_of_its_run_and_no_chance_where_there_is_none() -> None:
    method = {"name": "other", "title": "Other", "paper": "arXiv 1234.56789"}
    metrics = SSL | {"method": method}
    del metrics["chance_loss"]
    card = backbone_card(evidence(pretrain_recipe(Path("s")), metrics), LABEL, [])
    assert "# Other test" in card.replace("\\", "")
    assert "pretrained by Other on" in card
    assert "| method | Other, arXiv 1234.56789 |" in card
    assert "by chance" not in card
    assert "SimCLR" not in card
    assert "other" in ModelCard(card).data.tags
    assert "simclr" not in ModelCard(card).data.tags


def test_a_card_names_the_licence_of_the_weights_before_and_what_was_resampled() -> None:
    run = evidence(finetune_recipe(Path("s")), result(0.25))
    hub = {"source": "hf-hub:org/rad@c0ffee", "terms": {"origin": None, "licence": "mit|*x*"}}
    hub["resampled"] = [{"tensor": "pos_embed", "before": [1, 1370, 8], "after": [1, 1025, 8]}]
    file = {"source": "w.safetensors", "terms": {"origin": "timm/x@1", "licence": None}}
    transfers = tuple(RECORD | changes for changes in (hub, file))
    card = detector_card(replace(run, start="published", transfers=transfers), LABEL)
    assert "It started from published weights, hf-hub:org/rad@c0ffee." in card
    assert "The start was published weights, hf-hub:org/rad@c0ffee. What was loaded" in card
    assert r"from: hf-hub:org/rad@c0ffee, licence mit\|\*x\*." in card
    assert "from: w.safetensors, by its header from timm/x@1, licence not stated here: see" in card
    assert "other size: `pos_embed`, 1 x 1370 x 8 to 1 x 1025 x 8." in card
    assert ModelCard(card).data.base_model == "org/rad"
    pretext = replace(
        evidence(pretrain_recipe(Path("s")), SSL), start="published", transfers=transfers
    )
    assert "licence mit" in backbone_card(pretext, LABEL, [])
    assert "licence" not in detector_card(run, LABEL).split("## Licence")[0]
