"""What the phases of one build share: the recipe, where it lies and where it goes, its models, its manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from dfndr import storage
from dfndr.format.captioner import CaptionerRecord
from dfndr.format.manifest import Manifest, Shard, Step
from dfndr.format.schema import Space
from dfndr.progress import Progress
from dfndr.storage import Stored
from dfndr_builders.engines.base import Engine
from dfndr_builders.engines.claims import ALONE, turn
from dfndr_builders.engines.inline import Inline
from dfndr_builders.phase import STAGES, Model, made_with, run_phase
from dfndr_builders.pools.base import Pool
from dfndr_builders.recipe import Recipe
from dfndr_builders.recipe_file import resolve, resolve_weights
from dfndr_builders.scorer import OpenModel
from dfndr_builders.sections.base import TRAINED
from dfndr_builders.sections.models import Embed
from dfndr_builders.sections.models import Model as ModelRecipe
from dfndr_builders.timings import Timings
from dfndr_builders.work import Job, Unit

__all__ = ["Context", "listing"]


@dataclass
class Context:
    """One build in progress."""

    recipe: Recipe
    text: str
    folder: Path
    root: str
    device: str
    progress: Progress
    engine: Engine = field(default_factory=Inline)
    still_held: Callable[[], None] = field(default=lambda: None)
    """Raises StorageError where the output folder was lost to another build."""
    filter: str = ""
    """The folder of the filter that the recipe trained, relative to the root."""
    replace: bool = False
    """Whether what is there may give way to something else."""
    drift: dict[str, Mapping[str, float]] = field(default_factory=dict)
    """How far vectors of pictures decoded the fast way are from the exact ones, by encoder."""
    files: dict[str, Stored] = field(default_factory=dict)
    """Files of the dataset that belong to no shard, by role: a filter trained on the way, configs of models, audits."""

    @property
    def timings(self) -> Timings:
        """What was done, and how long it took."""
        return Timings(storage.join(self.root, "phases"), self.engine.leads)

    def alone(self) -> AbstractContextManager[None]:
        """Wait, where other processes work at the same build, until none of them does what only one may do at a time.

        Who comes second finds it done.
        """
        return turn(self.root, ALONE) if self.engine.shared else nullcontext()

    def phase(self, kind: str, digest: str) -> str:
        """Return the folder of a phase."""
        return storage.join(self.root, "phases", f"{kind}-{digest[:12]}")

    def relative(self, path: str) -> str:
        """Return a path below the root as it stands in the manifest."""
        return path.removeprefix(self.root).lstrip("/")

    def resolve(self, path: str) -> str:
        """Return a path of the recipe as an absolute one."""
        return resolve(path, self.folder)

    def keep(self, folder: str) -> None:
        """Make the files of a folder below the root, such as trained weights, belong to the dataset."""
        for name in storage.list_files(storage.join(self.root, folder)):
            path = storage.join(self.root, folder, name)
            self.files[f"{folder}/{name}"] = Stored(f"{folder}/{name}", storage.size_of(path), storage.sha256_of(path))

    def model(self, given: ModelRecipe, name: str) -> Model:
        """Return a model of the recipe; a config of the recipe's own goes with the dataset, for search to find."""
        pretrained, written = resolve_weights(given.pretrained, self.folder), given.pretrained
        if given.pretrained == TRAINED:
            pretrained, written = "local-dir:" + storage.join(self.root, self.filter), f"local-dir:{self.filter}"
        config = ""
        if given.model.endswith(".json"):
            path = self.resolve(given.model)
            stored = storage.put(self.root, f"models/{name}-{{hash8}}.json", storage.read_bytes(path))
            self.files[stored.path], config = stored, stored.path
            given = given.model_copy(update={"model": path})
        spec, scale = given.spec(name, self.recipe.compute, self.device, pretrained), None
        if isinstance(given, Embed):
            scale = given.distillation_scale
        return Model(spec, written, config, scale)

    def run(
        self,
        name: str,
        job: Job,
        units: Sequence[Unit],
        *,
        sizes: Sequence[int | None] = (),
        note: Callable[[], str] | None = None,
    ) -> tuple[Shard, ...]:
        """Run a phase by the build's engine; see `run_phase`."""
        placed = replace(job, device=self.device, threads=self.recipe.compute.threads)
        return run_phase(
            name, placed, units, self.progress, sizes=sizes, timings=self.timings, note=note, engine=self.engine
        )

    def manifest(
        self,
        digest: str,
        *,
        shards: tuple[Shard, ...],
        funnel: tuple[Step, ...],
        spaces: tuple[Space, ...] = (),
        encoders: Mapping[str, OpenModel] | None = None,
        scorers: Mapping[str, OpenModel] | None = None,
        captioners: Mapping[str, CaptionerRecord] | None = None,
        files: Mapping[str, Stored] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> Manifest:
        """Return the manifest of the dataset, or of a phase, under the phase's digest."""
        pools = [given.model_dump(mode="json", exclude_defaults=True) for given in self.recipe.pool]
        revisions = _revisions([*(encoders or {}).values(), *(scorers or {}).values()])
        drift = {"drift": self.drift} if self.drift else {}
        return Manifest(
            name=self.recipe.name,
            license=self.recipe.license,
            recipe=self.text,
            recipe_digest=self.recipe.digest,
            seed=self.recipe.seed,
            spaces=spaces,
            encoders={name: model.record for name, model in (encoders or {}).items()},
            scorers={name: model.record for name, model in (scorers or {}).items()},
            shards=shards,
            funnel=funnel,
            provenance={
                "phase": digest,
                "stages": STAGES,
                "pools": pools,
                "made_with": made_with(),
                **revisions,
                **drift,
                **(more or {}),
            },
            files=files or {},
            captioners=captioners or {},
        )


def _revisions(models: Iterable[OpenModel]) -> dict[str, dict[str, str]]:
    """Return which commits of the Hub models came from, by where they are; nothing where none came from there."""
    found = {model.record.pretrained: model.open().revision for model in models}
    told = {name: commit for name, commit in sorted(found.items()) if commit}
    return {"revisions": told} if told else {}


def listing(pool: Pool) -> list[list[object]]:
    """Return what a digest holds of a pool's shards: each one's base name and size, and those of its files."""
    return [
        [shard.name.rsplit("/", 1)[-1], shard.size_bytes, *([shard.files] if shard.files else [])]
        for shard in pool.shards()
    ]
