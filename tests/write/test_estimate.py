"""Estimates before a build: rows, passes, operations and bytes against what is really there, and the probe's words."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from dfndr_builders.build import build
from dfndr_builders.dfn.cost import cost_of, forward_flops, model_config
from dfndr_builders.estimate.pool_size import PoolSize, size_of_pool
from dfndr_builders.estimate.reckoning import Asked, estimate
from dfndr_builders.estimate.words import in_bytes, in_time, told
from dfndr_builders.plan import PLAN, keep, plan
from dfndr_builders.recipe_file import read_recipe, shipped_recipe
from dfndr_builders.report.write import report
from support.builds import write_recipe
from support.models import TINY_CONFIG
from support.pools import picture, tar_of
from support.verbs import run

from dfndr.errors import UsageError


def small(folder: Path, **replaced: str) -> Path:
    return write_recipe(folder, **{"count": "400", **replaced})


def test_passes_and_bytes_are_those_of_the_build(tmp_path):
    recipe, _ = read_recipe(small(tmp_path))
    found = estimate(recipe, tmp_path)
    manifest = build(tmp_path / "recipe.toml", tmp_path / "out", device="cpu")
    assert (found.pool.rows, found.pool.is_exact, found.kept, len(manifest)) == (400, True, 80, 80)
    assert [(one.purpose, one.model, one.images, one.texts) for one in found.passes] == [
        ("score", "dfn", 400, 400),
        ("score captions", "dfn", 80, 160),
        ("embed", "tiny", 80, 80 + 160),
    ]
    each = forward_flops(TINY_CONFIG)
    assert found.passes[2].flops == 80 * each.image + 240 * each.text
    assert found.gpu_hours == pytest.approx(sum(one.flops for one in found.passes) / (989e12 * 0.4) / 3600)
    sizes = {"image/tiny": 80 * 16 * 2, "text/tiny": 80 * 16 * 2, "caption/tiny": 80 * 2 * 16 * 2}
    assert {name: found.disk[name] for name in sizes} == sizes
    for name in sizes:  # beside the vectors a file has a header of 128 bytes
        files = [shard.files[name].size_bytes - 128 for shard in manifest.shards]
        assert sum(files) == sizes[name]


def test_a_forward_pass_is_a_third_of_a_training_but_for_the_first_layers_gradient():
    for config in (TINY_CONFIG, model_config("ViT-L-14")):
        each = forward_flops(config)
        assert cost_of(config, 7).flops == 7 * (3 * (each.image + each.text) - each.first_layer)
    each = forward_flops(model_config("ViT-L-14"))
    assert each.image == pytest.approx(2 * 81.1e9, rel=0.02)  # open_clip's own table counts 81.1 GMACs


@pytest.mark.parametrize(("dtype", "each"), [("float32", 64), ("float16", 32), ("bfloat16", 32), ("int8", 20)])
def test_each_storage_type_has_its_bytes(tmp_path, dtype, each):
    path = small(tmp_path)
    path.write_text(path.read_text().replace('of = ["image", "text", "caption"]', f'of = ["text"]\ndtype = "{dtype}"'))
    assert estimate(read_recipe(path)[0], tmp_path).disk["text/tiny"] == 80 * each


def test_requests_to_a_server_are_counted(tmp_path):
    path = small(tmp_path)
    asked = '\n[[caption]]\nkind = "endpoint"\nurl = "http://x/v1"\nmodel = "m"\nbest_of = 3\n'
    for more, each in (("", 3), ("together = true\n", 1)):
        (tmp_path / "asked.toml").write_text(path.read_text() + asked + more)
        found = estimate(read_recipe(tmp_path / "asked.toml")[0], tmp_path)
        assert found.requests == {"endpoint": 80 * each}
    assert "captions by endpoint: 80 requests" in "\n".join(told(found))


def test_a_captioner_passes_over_what_is_kept_and_not_over_the_pool():
    recipe, _ = read_recipe(shipped_recipe("dfndr-12m"))
    found = estimate(recipe, Path(), Asked(rows=1_000))
    passes = {one.purpose: (one.model, one.images, one.texts) for one in found.passes}
    assert passes["caption"] == ("coca", found.kept, 0)
    assert "features" not in passes


def test_views_multiply_pictures_and_a_hub_model_is_known_by_its_name(tmp_path):
    text = write_recipe(tmp_path).read_text() + "\n[views]\ncount = 5\n"
    text = text.replace(
        'model = "tiny.json"\npretrained = "random:1"', 'pretrained = "hf-hub:apple/DFN2B-CLIP-ViT-L-14-39B"'
    )
    (tmp_path / "recipe.toml").write_text(text)
    recipe, _ = read_recipe(tmp_path / "recipe.toml")
    found = estimate(recipe, tmp_path, Asked(rows=1_000_000))
    embed = found.passes[-1]
    each = forward_flops(model_config("ViT-L-14"))
    assert (embed.images, embed.texts) == (1_000_000, 600_000)
    assert embed.flops == 1_000_000 * each.image + 600_000 * each.text
    assert found.disk["image/tiny"] == 200_000 * 5 * 768 * 2


def test_rows_of_many_shards_are_reckoned_from_a_few_of_them(tmp_path):
    for shard in range(12):
        members = [(f"{row}.{end}", data) for row in range(5 + shard % 3) for end, data in PAIR]
        (tmp_path / f"{shard:02d}.tar").write_bytes(tar_of(members))
    recipe, _ = read_recipe(write_recipe(tmp_path, text=TARS))
    (given,) = recipe.pool
    found = size_of_pool(given, tmp_path, 0)
    assert (found.shards, found.is_exact) == (12, False)
    assert found.rows == pytest.approx(12 * 6, rel=0.2)
    for path in sorted(tmp_path.glob("*.tar"))[3:]:
        path.unlink()
    assert size_of_pool(given, tmp_path, 0).rows == 5 + 6 + 7
    assert size_of_pool(given, tmp_path, 0).is_exact


def test_a_pool_that_is_not_there_has_no_rows_and_the_plan_says_so(tmp_path):
    recipe, _ = read_recipe(write_recipe(tmp_path, text=TARS))
    found = estimate(recipe, tmp_path)
    assert found.pool == PoolSize()
    assert list(told(found)) == ["rows: not known before the pool is read; --rows says how many to reckon with"]
    assert estimate(recipe, tmp_path, Asked(rows=500)).kept == 100


def test_workers_share_whole_shards(tmp_path):
    recipe, _ = read_recipe(small(tmp_path))
    found = estimate(recipe, tmp_path, Asked(workers=3, probe=True, device="cpu"))
    assert found.seconds["build"] > 0
    # 72 and 8 rows in shards of 60: three shards, one for each worker
    assert found.worker_seconds["build"] == pytest.approx(found.seconds["build"] / 3, abs=0.06)
    assert found.worker_seconds["score"] == found.seconds["score"]  # one shard of the pool


def test_a_probe_is_of_real_rows_and_its_rates_are_said(tmp_path):
    path = small(tmp_path)
    (tmp_path / "recipe.toml").write_text(path.read_text() + "\n[views]\ncount = 2\n")
    found = estimate(read_recipe(path)[0], tmp_path, Asked(probe=True, device="cpu"))
    probe = found.probe
    assert (probe.device, probe.rows, sorted(probe.models), probe.missing) == ("cpu", 400, ["dfn", "tiny"], {})
    assert min(probe.read_s, probe.measure_s, probe.decode_s, probe.thumbnail_s, probe.thumbnail_bytes) > 0
    rates = probe.models["tiny"]
    assert min(rates.image_s, rates.text_s, rates.view_s) > 0
    rows = 80 * (probe.read_s + probe.thumbnail_s + probe.decode_s)
    captions = 80 * rates.image_s + 160 * rates.text_s
    vectors = 160 * rates.view_s + 240 * rates.text_s
    assert found.seconds["build"] == pytest.approx(rows + captions + vectors + 2 * rates.start_s, abs=0.06)
    lines = "\n".join(told(found))
    assert "probe of 400 rows on cpu" in lines
    assert "time here, one worker: score" in lines


def test_a_plan_kept_before_the_build_stands_beside_what_happened_in_the_report(tmp_path):
    path = small(tmp_path)
    done = run(["plan", str(path), "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / PLAN).read_text()) == json.loads(done.stdout)
    kept = json.loads((tmp_path / "out" / PLAN).read_text())
    kept["estimate"]["seconds"] = {"score": 2.0, "none": 3.0}
    build(path, tmp_path / "out", device="cpu")
    (tmp_path / "out" / PLAN).write_text(json.dumps(kept))
    page = Path(report(str(tmp_path / "out"), out=str(tmp_path / "page.html"))).read_text()
    for words in ("happened by estimated", "rows kept, at most", "image/tiny on disk", "time to score"):
        assert words in page
    with pytest.raises(UsageError, match="dataset of another recipe"):
        keep(replace(plan(path), digest="0" * 64), str(tmp_path / "out"))
    odd = {"pool": 3, "kept": "x", "disk": [], "seconds": {"score": "1"}}
    others = ({**kept, "digest": "0" * 64}, {**kept, "estimate": [1]}, {**kept, "estimate": odd}, [])
    for text in ("{", *map(json.dumps, others)):
        (tmp_path / "out" / PLAN).write_text(text)
        page = Path(report(str(tmp_path / "out"), out=str(tmp_path / "page.html"))).read_text()
        assert "happened by estimated" not in page


def test_sizes_and_times_are_said_in_their_own_units():
    assert [in_bytes(size) for size in (2_000, 5_000_000, 7e9, 3.2e13)] == ["2 kB", "5.0 MB", "7.0 GB", "32.0 TB"]
    assert [in_time(size) for size in (3, 600, 36_000, 864_000)] == ["3 s", "10 min", "10.0 h", "10.0 days"]


PAIR = (("png", picture()), ("txt", b"a text"))
TARS = """
name = "tars"
license = "mit"

[[pool]]
kind = "webdataset"
path = "*.tar"

[[score]]
name = "dfn"
model = "{model}"
pretrained = "random:0"

[select]
by = "dfn"
top_fraction = 0.2
"""
