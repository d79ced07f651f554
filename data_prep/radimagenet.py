"""RadImageNet's pretraining set: 1.35 million CT, MR and ultrasound pictures in 165 classes, in the authors' split.

No table says which pictures are of one patient: only the authors' split keeps patients apart, so it stays as it is.
"""

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from data_prep import listed, options, sample
from data_prep.fold_tables import SPLITS, read_table
from data_prep.folder_deal import without_contradictions
from data_prep.listed import Listed
from data_prep.sample.drawing import generator
from data_prep.work import Rejected, Source
from medtl import datalist
from medtl.cards import DatasetCard
from medtl.datalist import Entry
from medtl.errors import UsageError
from medtl.files import write_csv
from medtl.writers.images import write_png

# MODALITY_PART_FOLDER, letter for letter as the folders are written, as listed in MedAI-Clemson/radimagenet
CARD = DatasetCard(
    name="radimagenet",
    title="RadImageNet, CT, MR and ultrasound in 165 classes",
    task="classification",
    classes=(
        "CT_abd_abnormal_entire_organ",
        "CT_abd_adrenal_pathology",
        "CT_abd_arterial_pathology",
        "CT_abd_ascites",
        "CT_abd_bil_dil",
        "CT_abd_bladder_pathology",
        "CT_abd_bowel_abnormality",
        "CT_abd_bowel_inflammation",
        "CT_abd_bowel_mass",
        "CT_abd_degenerative_changes",
        "CT_abd_dilated_urinary_tract",
        "CT_abd_fat_containing_tumor",
        "CT_abd_gallbladder_pathology",
        "CT_abd_gallstone",
        "CT_abd_intraperitoneal_mass",
        "CT_abd_liver_lesion",
        "CT_abd_normal",
        "CT_abd_osseous_neoplasm",
        "CT_abd_ovarian_pathology",
        "CT_abd_pancreatic_lesion",
        "CT_abd_post_op",
        "CT_abd_prostate_lesion",
        "CT_abd_renal_lesion",
        "CT_abd_soft_tissue_collection",
        "CT_abd_soft_tissue_mass",
        "CT_abd_splenic_lesion",
        "CT_abd_urolithiasis",
        "CT_abd_uterine_pathology",
        "CT_lung_Airspace_opacity",
        "CT_lung_Bronchiectasis",
        "CT_lung_Nodule",
        "CT_lung_Parenchyma_destruction",
        "CT_lung_interstitial_lung_disease",
        "CT_lung_normal",
        "MR_af_Plantar_plate_tear",
        "MR_af_achilles_pathology_",
        "MR_af_atfl_pathology",
        "MR_af_bone_inflammation",
        "MR_af_cfl_pathology",
        "MR_af_chondral_abnormality",
        "MR_af_coalition",
        "MR_af_deltoid_pathology",
        "MR_af_extensor_pathology_",
        "MR_af_fat_containing_tumor",
        "MR_af_flexor_pathology_",
        "MR_af_hematoma",
        "MR_af_intra",
        "MR_af_lisfranc_pathology",
        "MR_af_normal",
        "MR_af_osseous_disruption",
        "MR_af_osseous_neoplasm",
        "MR_af_peroneal_pathology",
        "MR_af_plantar_fascia_pathology",
        "MR_af_post_op",
        "MR_af_soft_tissue_edema",
        "MR_af_soft_tissue_fluid",
        "MR_af_soft_tissue_mass",
        "MR_af_spring_ligament_injury",
        "MR_af_syndesmosis_pathology",
        "MR_brain_acute_infarct",
        "MR_brain_arteriovenous_anomaly",
        "MR_brain_chronic_infarct",
        "MR_brain_edema",
        "MR_brain_extra",
        "MR_brain_focal_flair_hyper",
        "MR_brain_intra",
        "MR_brain_normal",
        "MR_brain_pituatary_lesion",
        "MR_brain_white_matter_changes",
        "MR_hip_abductor_pathology_",
        "MR_hip_capsular_pathology",
        "MR_hip_chondral_pathology",
        "MR_hip_hamstring_pathology",
        "MR_hip_hematoma",
        "MR_hip_labral_pathology",
        "MR_hip_marrow_inflammation",
        "MR_hip_normal",
        "MR_hip_osseous_disruption",
        "MR_hip_osseous_lesion",
        "MR_hip_post_op",
        "MR_hip_soft_tissue_edema",
        "MR_hip_soft_tissue_fluid",
        "MR_hip_soft_tissue_mass",
        "MR_knee_acl_pathology",
        "MR_knee_bone_inflammation",
        "MR_knee_chondral_abnormality",
        "MR_knee_fcl_pathology",
        "MR_knee_fracture",
        "MR_knee_hematoma",
        "MR_knee_intra",
        "MR_knee_mcl_pathology",
        "MR_knee_meniscal_abnormality",
        "MR_knee_muscle_strain",
        "MR_knee_normal",
        "MR_knee_patella_pathology",
        "MR_knee_pcl_pathology",
        "MR_knee_post_operative_acl",
        "MR_knee_quad_pathology",
        "MR_knee_soft_tissue_edema",
        "MR_knee_soft_tissue_fluid_collection",
        "MR_knee_soft_tissue_mass",
        "MR_mriabd_adrenal_pathology",
        "MR_mriabd_arterial_pathology",
        "MR_mriabd_ascites",
        "MR_mriabd_bil_dil",
        "MR_mriabd_bladder_pathology",
        "MR_mriabd_bowel_abnormality",
        "MR_mriabd_bowel_inflammation",
        "MR_mriabd_bowel_mass",
        "MR_mriabd_degenerative_changes",
        "MR_mriabd_dilated_urinary_tract",
        "MR_mriabd_enlarged_organ",
        "MR_mriabd_gallbladder_pathology",
        "MR_mriabd_intraperitoneal_mass",
        "MR_mriabd_liver_disease_",
        "MR_mriabd_liver_lesion",
        "MR_mriabd_marrow_abn",
        "MR_mriabd_normal",
        "MR_mriabd_osseous_neoplasm",
        "MR_mriabd_ovarian_pathology",
        "MR_mriabd_pancreatic_lesion",
        "MR_mriabd_prostate_lesion",
        "MR_mriabd_renal_lesion",
        "MR_mriabd_soft_tissue_collection",
        "MR_mriabd_soft_tissue_mass",
        "MR_mriabd_splenic_lesion",
        "MR_mriabd_uterine_pathology",
        "MR_shoulder_acj_oa",
        "MR_shoulder_biceps_pathology",
        "MR_shoulder_ca++_tendinosis",
        "MR_shoulder_ghj_oa",
        "MR_shoulder_infraspinatus_pathology",
        "MR_shoulder_labral_pathology",
        "MR_shoulder_marrow_inflammation",
        "MR_shoulder_normal",
        "MR_shoulder_osseous_lesion",
        "MR_shoulder_post_op",
        "MR_shoulder_soft_tissue_edema",
        "MR_shoulder_soft_tissue_fluid",
        "MR_shoulder_subscapularis_pathology",
        "MR_shoulder_supraspinatus_pathology",
        "MR_spine_cord_pathology_",
        "MR_spine_cystic_lesions",
        "MR_spine_disc_pathology",
        "MR_spine_dural_epidural_abn",
        "MR_spine_facet_arthropathy",
        "MR_spine_foraminal_pathlogy",
        "MR_spine_normal",
        "MR_spine_osseous_abn",
        "MR_spine_scoliosis",
        "US_usabd_aorta",
        "US_usabd_bladder",
        "US_usabd_cbd",
        "US_usabd_fibroid",
        "US_usabd_gb",
        "US_usabd_ivc",
        "US_usabd_kidney",
        "US_usabd_liver",
        "US_usabd_ovary",
        "US_usabd_pancreas",
        "US_usabd_portal_vein",
        "US_usabd_spleen",
        "US_usabd_uterus",
        "US_usthyroid_thyroid",
        "US_usthyroid_thyroid_nodule",
    ),
    licence="on request from its authors, for research (radimagenet.com)",
    citation="Mei et al., RadImageNet: An Open Radiologic Deep Learning Research Dataset for Effective Transfer"
    " Learning, Radiology: Artificial Intelligence 2022",
    url="https://www.radimagenet.com",
    how_to_get="Ask for the set at radimagenet.com; its tables RadiologyAI_{train,val,test}.csv come with it.",
    disk_gb=None,
    layout="RadiologyAI_{train,val,test}.csv with filename and label beside or above radiology_ai/{CT,MR,US}/…",
    seen=False,
)
TABLE = "RadiologyAI_{}.csv"
ROOT = "radiology_ai"
ULTRASOUND = "US"


@options.shared
def command(
    raw: options.Raw,
    out: options.Out,
    **how: Any,
) -> None:
    source = find(options.raw_folder(raw, "--raw", CARD.name))
    options.finish(
        CARD,
        [source],
        out,
        choices={},
        is_sample=raw == sample.WORD,
        deal=deal,
        **how,
    )


def find(raw: Path) -> Source:
    """Return the work of a download: the rows of its three tables.

    Args:
        raw: the folder that holds the tables and ``radiology_ai``, or one above it.

    Raises:
        UsageError: there is no table, or it lacks a column.
    """
    rows: list[Listed] = []
    rejected: list[tuple[str, str]] = []
    tables = {split: next(iter(sorted(raw.glob(f"**/{TABLE.format(split)}"))), None) for split in SPLITS}
    if not any(tables.values()):
        raise UsageError(f"{raw} holds no table of RadImageNet: expected {CARD.layout}")
    for split, table in tables.items():
        if table is None:
            rejected.append((TABLE.format(split), "is missing, and with it this split"))
            continue
        name = table.relative_to(raw).as_posix()
        base = next((one for one in (table.parent, *table.parents) if (one / ROOT).is_dir()), table.parent)
        beside = base.relative_to(raw) if base.is_relative_to(raw) else Path()
        for file, label in read_table(table, name, ("filename",), ("label",)):
            found = class_of(file, label)
            if found is None:
                rejected.append((file, f"{name} labels it {label!r}, which is none of the 165 classes"))
            else:
                patient = PurePosixPath(file).with_suffix("").as_posix()
                rows.append(Listed((beside / file).as_posix(), found, patient, SPLITS[split]))
    return listed.source(CARD, raw, rows, rejected)


def class_of(file: str, label: str) -> str | None:
    """Return the class of a row, None for no class.

    The same label stands in several folders (``normal``, ``intra``), so modality and part of the body belong to a
    class. Of ultrasound the part is not in the file's name, and its labels are unique.
    """
    parts = PurePosixPath(file).parts
    after = parts[parts.index(ROOT) + 1 :] if ROOT in parts else parts
    parts_known = ("usabd", "usthyroid") if after[0] == ULTRASOUND else after[1:2]
    known = [f"{after[0]}_{part}_{label}" for part in parts_known]
    return next((one for one in known if one in _KNOWN), None)


_KNOWN = frozenset(CARD.classes)


def deal(entries: list[Entry], classes: Sequence[str]) -> tuple[dict[str, list[Entry]], list[Rejected]]:
    """Give each entry the authors' split; leave out equal pictures under different labels, and name them."""
    index = {name: number for number, name in enumerate(classes)}
    for entry in entries:
        entry["label"] = index[entry["label"]]
    kept, rejected = without_contradictions(entries, classes, itemgetter("image"))
    splits: dict[str, list[Entry]] = {split: [] for split in datalist.SPLITS}
    for entry in kept:
        splits[entry.pop("split")].append(entry)
    return splits, rejected


def make_sample(folder: Path) -> None:
    """Draw the official layout with all classes: each is a grating of its own direction and width."""
    y, x = np.mgrid[0:48, 0:48].astype(np.float32)
    rows: dict[str, list[tuple[str, str]]] = {split: [] for split in SPLITS}
    counts = Counter({"train": 6, "val": 2, "test": 1})
    for number, name in enumerate(CARD.classes):
        modality, part, label = name.split("_", 2)
        place = [modality, label] if modality == ULTRASOUND else [modality, part, label]
        angle, width = np.pi * (number % 15) / 15, 4 + 1.2 * (number // 15)
        made = 0
        for split, count in counts.items():
            for _ in range(count):
                rng = generator("radimagenet", number, made)
                wave = np.cos((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / width + rng.uniform(0, 6))
                image = np.clip(128 + 60 * wave + 12 * rng.standard_normal(x.shape), 0, 255).astype(np.uint8)
                file = "/".join([ROOT, *place, f"{part}{made:06d}.png"])
                write_png(folder / file, image)
                rows[split].append((file, label))
                made += 1
    for split, own in rows.items():
        write_csv(folder / TABLE.format(split), [("filename", "label"), *own])
