"""Distillation from several teachers: published values, sums written out, and what is refused."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="losses need torch")

from support.reference import STUDENT, STUDENT_SCALE, TEACHERS, features  # noqa: E402

from dfndr.errors import UsageError  # noqa: E402
from dfndr.losses.contrastive import siglip_loss  # noqa: E402
from dfndr.losses.distillation import (  # noqa: E402
    Teacher,
    distillation_loss,
    logits_of,
    reinforced_loss,
    sigmoid_distillation_loss,
)

KINDS = ("real", "synthetic")
exactly = dict(abs=1e-8, rel=0)


def teachers(kind, scales=(70.0, 60.0)):
    return Teacher.each(TEACHERS["images"], TEACHERS[kind], scales=scales)


def distilled(*kinds, scales=(70.0, 60.0), **weights):
    return reinforced_loss(
        STUDENT["images"],
        [STUDENT[kind] for kind in kinds],
        scale=STUDENT_SCALE,
        teachers=[teachers(kind, scales) for kind in kinds],
        **weights,
    ).item()


def entropy(kind):
    """The mean entropy of the two teachers' targets of both ways, which cross-entropy has and divergence has not."""
    found = []
    for each in teachers(kind):
        seen = each.scale * each.images @ each.texts.T
        found += [-(target * target.log()).sum(dim=1).mean() for target in (seen.softmax(dim=1), seen.T.softmax(dim=1))]
    return sum(found).item() / 4


def test_the_reference_features_are_those_that_were_published():
    first = [0, 0.50834201, 0.27196179, -0.3628431, -0.46608199, 0.11349032, 0.52679905, 0.16834594]
    assert features(4, 8, 0.0)[0].tolist() == pytest.approx(first, abs=1e-8)
    assert torch.cat(TEACHERS["images"], dim=1).norm(dim=1).tolist() == pytest.approx([1.41421356] * 4, abs=1e-8)


def test_contrastive_training_has_the_published_values():
    plain = {"contrastive_weight": 1.0, "distillation_weight": 0.0}
    assert distilled("real", **plain) == pytest.approx(1.6526639964, **exactly)
    assert distilled(*KINDS, **plain) == pytest.approx(8.14875954, **exactly)


def test_two_teachers_of_different_scales_have_the_published_values():
    assert distilled("real") == pytest.approx(8.5191281975, **exactly)
    assert distilled(*KINDS) == pytest.approx(21.1555001343, **exactly)


def test_less_the_teachers_mean_entropy_it_is_the_published_mean_divergence():
    real = distillation_loss(STUDENT["images"], STUDENT["real"], scale=STUDENT_SCALE, teachers=teachers("real"))
    synthetic = distilled("synthetic")
    assert real.item() - entropy("real") == pytest.approx(8.1974560054, **exactly)
    assert synthetic - entropy("synthetic") == pytest.approx(12.3820460011, **exactly)


def test_two_teachers_of_one_scale_have_the_published_value():
    assert distilled(*KINDS, scales=(100.0, 100.0)) == pytest.approx(22.1465201546, **exactly)


def test_teachers_in_one_blob_are_another_loss_whose_value_was_published_too():
    joined = Teacher(torch.cat(TEACHERS["images"], dim=1), torch.cat(TEACHERS["real"], dim=1), 100.0)
    found = distillation_loss(STUDENT["images"], STUDENT["real"], scale=STUDENT_SCALE, teachers=[joined])
    assert found.item() == pytest.approx(9.455060961, **exactly)


def test_both_weighted_terms_have_the_published_values():
    both = distilled(*KINDS, contrastive_weight=0.25, distillation_weight=0.75)
    contrastive = distilled(*KINDS, contrastive_weight=0.25, distillation_weight=0.0)
    distillation = distilled(*KINDS, contrastive_weight=0.0, distillation_weight=0.75)
    assert contrastive == pytest.approx(2.037189885, **exactly)
    assert distillation == pytest.approx(15.8666251007, **exactly)
    assert both == pytest.approx(contrastive + distillation, abs=1e-12)


def test_the_sigmoid_form_is_the_sum_over_pairs_written_out():
    image, text, shifts = STUDENT["images"], STUDENT["real"], (-10.0, -6.0)
    given = Teacher.each(TEACHERS["images"], TEACHERS["real"], scales=(10.0, 8.0), biases=shifts)
    found = sigmoid_distillation_loss(image, text, scale=5.0, bias=-2.0, teachers=given)
    expected = 0.0
    for row in range(4):
        for column in range(4):
            seen = [t.scale * float(t.images[row] @ t.texts[column]) + t.bias for t in given]
            wanted = sum(1 / (1 + math.exp(-each)) for each in seen) / 2
            ours = 1 / (1 + math.exp(-(5.0 * float(image[row] @ text[column]) - 2.0)))
            expected -= wanted * math.log(ours) + (1 - wanted) * math.log(1 - ours)
    assert found.item() == pytest.approx(expected / 4, abs=1e-12)


def test_a_teacher_certain_of_the_pairs_makes_the_sigmoid_form_the_siglip_loss():
    certain = Teacher(torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64), 2000.0, -1000.0)
    image, text = STUDENT["images"], STUDENT["real"]
    found = reinforced_loss(image, [text], scale=10.0, bias=-10.0, teachers=[[certain]], form="sigmoid")
    assert found.item() == pytest.approx(siglip_loss(10 * image @ text.T - 10).item(), abs=1e-12)


def test_the_sigmoid_form_adds_the_siglip_loss_by_its_weight():
    common = dict(scale=10.0, bias=-10.0, teachers=[teachers("real")], form="sigmoid")
    both = reinforced_loss(STUDENT["images"], [STUDENT["real"]], contrastive_weight=0.25, **common)
    alone = reinforced_loss(STUDENT["images"], [STUDENT["real"]], **common)
    contrastive = siglip_loss(logits_of(STUDENT["images"], STUDENT["real"], scale=10.0, bias=-10.0))
    assert both.item() == pytest.approx((alone + contrastive / 4).item(), abs=1e-12)


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_a_pair_may_learn_from_one_teacher_alone(form):
    image, text, chosen = STUDENT["images"], STUDENT["real"], [1, 0, 0, 1]
    given = Teacher.each(TEACHERS["images"], TEACHERS["real"], scales=(7.0, 6.0), biases=(-3.0, -1.0))
    common = dict(scale=5.0, bias=-2.0, form=form, teachers=[given])
    found = reinforced_loss(image, [text], teacher_of=torch.tensor(chosen), **common)
    z, expected = 5.0 * image @ text.T - 2.0, 0.0
    for row, teacher in enumerate(given[number] for number in chosen):
        seen = teacher.scale * teacher.images @ teacher.texts.T + teacher.bias
        if form == "softmax":
            expected -= float(seen[row].softmax(0) @ z[row].log_softmax(0)) / 8
            expected -= float(seen[:, row].softmax(0) @ z[:, row].log_softmax(0)) / 8
        else:
            wanted, ours = seen[row].sigmoid(), z[row].sigmoid()
            expected -= float((wanted * ours.log() + (1 - wanted) * (1 - ours).log()).sum()) / 4
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_teachers_drawn_for_each_row_have_the_mean_of_them_all_as_their_mean():
    every = [torch.tensor([number] * 4) for number in (0, 1)]
    real = [STUDENT["images"], [STUDENT["real"]]]
    given = dict(scale=20.0, teachers=[teachers("real")])
    alone = [reinforced_loss(*real, teacher_of=chosen, **given).item() for chosen in every]
    assert reinforced_loss(*real, **given).item() == pytest.approx(sum(alone) / 2, abs=1e-12)


def test_gradients_reach_the_student_and_its_scale_and_no_teacher():
    image, text = (STUDENT[name].clone().requires_grad_() for name in ("images", "real"))
    scale, seen = torch.tensor(20.0, requires_grad=True), TEACHERS["images"][0].clone().requires_grad_()
    theirs = [Teacher(seen, TEACHERS["real"][0], 70.0)]
    torch.autograd.gradcheck(lambda *given: distillation_loss(*given, scale=20.0, teachers=theirs), (image, text))
    reinforced_loss(image, [text], scale=scale, teachers=[theirs]).backward()
    assert scale.grad != 0 and image.grad.any() and text.grad.any() and seen.grad is None


def test_stored_halves_and_autocast_lose_no_digits():
    stored = [[each.half() for each in TEACHERS[name]] for name in ("images", "real")]
    exact = [[each.double() for each in kind] for kind in stored]
    student = {name: STUDENT[name].float() for name in STUDENT}
    found = []
    for kind, enabled in ((stored, True), (exact, False)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            given = Teacher.each(*kind, scales=(70.0, 60.0))
            loss = distillation_loss(student["images"], student["real"], scale=STUDENT_SCALE, teachers=given)
            found.append(loss.item())
    assert found[0] == pytest.approx(found[1], abs=1e-4)


@pytest.mark.parametrize("scales", [(100.0,), (100.0, None), (None, None), (100.0, 100.0, 100.0)])
def test_one_logit_scale_for_two_teachers_is_a_clear_error_and_no_index_error(scales):
    with pytest.raises(UsageError, match="Give each teacher its own scale"):
        Teacher.each(TEACHERS["images"], TEACHERS["real"], scales=scales)


@pytest.mark.parametrize("scale", [None, 0.0, -1.0, math.inf, math.nan])
def test_a_teacher_whose_scale_is_no_number_above_0_is_refused(scale):
    with pytest.raises(UsageError, match="expected a finite scale above 0"):
        Teacher(TEACHERS["images"][0], TEACHERS["real"][0], scale)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"teachers": []}, "expected teachers for each kind of texts, found teachers for 0 of 1"),
        ({"teachers": [[]]}, "expected one teacher or more"),
        ({"teachers": [[Teacher(features(3, 6, 0.0), features(3, 6, 0.0), 70.0)]]}, r"of the batch, found \(3, 3\)"),
        ({"distillation_weight": 0.0}, "not both 0"),
        ({"contrastive_weight": -1.0}, "two weights of 0 or more"),
        ({"form": "hinge"}, "expected one of"),
    ],
)
def test_what_does_not_fit_together_is_refused(changed, said):
    given = {"scale": 20.0, "teachers": [teachers("real")], **changed}
    with pytest.raises(UsageError, match=said):
        reinforced_loss(STUDENT["images"], [STUDENT["real"]], **given)


def test_no_texts_at_all_are_refused():
    with pytest.raises(UsageError, match="one kind of texts or more"):
        reinforced_loss(STUDENT["images"], [], scale=20.0)
