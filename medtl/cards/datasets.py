"""Each data set before a file of it is read. Counts are asserted against by data preparation, which prints them beside
what it found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class DatasetCard:
    """One public data set.

    Attributes:
        name: the word used in commands.
        title: the name people know it by.
        task: "classification" or "segmentation".
        classes: class names in index order.
        published: images a class in the publication, for segmentation cases a sequence; empty where there are none.
        licence: as its distributor states it.
        citation: one line.
        url: where it is described and asked for.
        how_to_get: one or two sentences.
        disk_gb: size of the download, None where it is not stated.
        layout: what data preparation looks for in the download.
        parts: of a download in parts (official splits, sites): each part's images a class, so that a partial download
            is known for one.
    """

    name: str
    title: str
    task: str
    classes: tuple[str, ...]
    licence: str
    citation: str
    url: str
    how_to_get: str
    disk_gb: float | None
    layout: str
    published: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class MsdTask:
    """One task of the Medical Segmentation Decathlon as key slices: any foreground label counts as the organ.

    Attributes:
        number: the NN of the official folder ``TaskNN_*``.
        organ: class name of its key slices.
        modality: "CT" or "MR"; decides the scaling to 8 bit.
        channels: channel names of the 4-D image, in file order; one name for a 3-D image.
        window: (centre, width) in HU for CT, None for MR.
        key_slices: default rule; the area fractions of brain and prostate give the paper's slices a case, the others
        are not calibrated.
        published_cases: training cases in the paper's table, 0 where the paper does not use the task.
        published_slices: key slices in the paper's table.
    """

    number: int
    organ: str
    modality: str
    channels: tuple[str, ...]
    window: tuple[float, float] | None = None
    key_slices: str = "area:0.90"
    published_cases: int = 0
    published_slices: int = 0


SOFT_TISSUE = (40.0, 400.0)
LUNG_WINDOW = (-600.0, 1500.0)

MSD_TASKS: Mapping[int, MsdTask] = MappingProxyType(
    {
        task.number: task
        for task in (
            MsdTask(1, "Brain", "MR", ("FLAIR", "T1w", "T1gd", "T2w"), None, "area:0.93", 484, 4788),
            MsdTask(2, "Heart", "MR", ("MR",), None, "area:0.90", 20, 372),
            MsdTask(3, "Liver", "CT", ("CT",), SOFT_TISSUE, "area:0.90", 131, 2143),
            MsdTask(4, "Hippocampus", "MR", ("T1w",)),
            MsdTask(5, "Prostate", "MR", ("T2", "ADC"), None, "area:0.77", 32, 216),
            MsdTask(6, "Lung", "CT", ("CT",), LUNG_WINDOW, "area:0.90", 63, 465),
            MsdTask(7, "Pancreas", "CT", ("CT",), SOFT_TISSUE),
            MsdTask(8, "Hepatic Vessel", "CT", ("CT",), SOFT_TISSUE),
            MsdTask(9, "Spleen", "CT", ("CT",), SOFT_TISSUE),
            MsdTask(10, "Colon", "CT", ("CT",), SOFT_TISSUE),
        )
    }
)

CHEXPERT_FINDINGS: Mapping[str, int] = MappingProxyType(
    {  # in the order of CheXpert's own columns, with the counts of the CPMID paper's table 1
        "No Finding": 22381,
        "Enlarged Cardiomediastinum": 10798,
        "Cardiomegaly": 27000,
        "Lung Opacity": 105581,
        "Lung Lesion": 9186,
        "Edema": 52246,
        "Consolidation": 14783,
        "Pneumonia": 6039,
        "Atelectasis": 33376,
        "Pneumothorax": 19448,
        "Pleural Effusion": 86187,
        "Pleural Other": 3523,
        "Fracture": 9040,
        "Support Devices": 116001,
    }
)
NODULE = "Nodule"
CHAOS_GREYS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {  # organs in the order of their index in our masks, with the grey values of CHAOS's MR masks
        "liver": (55, 70),
        "right_kidney": (110, 135),
        "left_kidney": (175, 200),
        "spleen": (240, 255),
    }
)
CPMID_ORGANS: Mapping[int, str] = MappingProxyType({n: t.organ for n, t in MSD_TASKS.items() if t.published_slices})

CHEXPERT = DatasetCard(
    name="chexpert",
    title="CheXpert-v1.0-small",
    task="classification",
    classes=tuple(CHEXPERT_FINDINGS),
    published=CHEXPERT_FINDINGS,
    licence="Stanford University Dataset Research Use Agreement (no redistribution)",
    citation="Irvin et al., CheXpert: a large chest radiograph dataset with uncertainty labels, AAAI 2019",
    url="https://stanfordmlgroup.github.io/competitions/chexpert/",
    how_to_get="Register and accept the agreement; download CheXpert-v1.0-small.zip and unzip it.",
    disk_gb=11.0,
    layout="CheXpert-v1.0-small/train.csv, valid.csv, train/, valid/",
)
MSD = DatasetCard(
    name="msd",
    title="Medical Segmentation Decathlon, key slices",
    task="classification",
    classes=tuple(task.organ for task in MSD_TASKS.values()),
    published={task.organ: task.published_slices for task in MSD_TASKS.values() if task.published_slices},
    licence="CC BY-SA 4.0",
    citation="Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 2022",
    url="http://medicaldecathlon.com/",
    how_to_get="Download the task archives (CPMID needs 01, 02, 03, 05 and 06) and untar them side by side.",
    disk_gb=45.0,
    layout="TaskNN_*/dataset.json, imagesTr/, labelsTr/",
)
LIDC = DatasetCard(
    name="lidc",
    title="LIDC-IDRI, nodule crops",
    task="classification",
    classes=(NODULE,),
    published={NODULE: 4708},
    licence="CC BY 3.0",
    citation="Armato et al., The Lung Image Database Consortium (LIDC) and IDRI, Medical Physics 2011",
    url="https://www.cancerimagingarchive.net/collection/lidc-idri/",
    how_to_get="Download the CT images with the NBIA Data Retriever and the readers' XML; keep both under one folder.",
    disk_gb=125.0,
    layout="LIDC-IDRI-NNNN/ patient folders of DICOM series, LidcReadMessage XML anywhere below the same folder",
)
CPMID = DatasetCard(
    name="cpmid",
    title="CPMID, a general medical image collection for pretraining",
    task="classification",
    classes=(*CHEXPERT_FINDINGS, *(CPMID_ORGANS[n] for n in (1, 2, 3, 6, 5)), NODULE),
    published={**CHEXPERT_FINDINGS, **MSD.published, NODULE: 4708},
    licence="those of CheXpert, MSD (CC BY-SA 4.0) and LIDC-IDRI (CC BY 3.0)",
    citation="Zhang et al., Construction and Validation of a General Medical Image Dataset for Pretraining, 2024",
    url="those of chexpert, msd and lidc",
    how_to_get="Get CheXpert-v1.0-small, MSD tasks 01, 02, 03, 05, 06 and LIDC-IDRI; medtl builds it from them.",
    disk_gb=160.0,
    layout="the three downloads, named by --chexpert, --msd and --lidc",
)
CHAOS = DatasetCard(
    name="chaos",
    title="CHAOS, combined healthy abdominal organ segmentation",
    task="segmentation",
    classes=tuple(CHAOS_GREYS),
    published={"CT": 20, "T1DUAL-in": 20, "T1DUAL-out": 20, "T2SPIR": 20},
    licence="CC BY-NC-SA 4.0 (non-commercial)",
    citation="Kavur et al., CHAOS Challenge: combined (CT-MR) healthy abdominal organ segmentation, Medical Image"
    " Analysis 2021",
    url="https://chaos.grand-challenge.org/",
    how_to_get="Follow the data link of the challenge's page; unzip Train_Sets (the test sets have no ground truth).",
    disk_gb=None,
    layout="CT/NN/{DICOM_anon,Ground}/ and MR/NN/{T1DUAL,T2SPIR}/{DICOM_anon,Ground}/, as in Train_Sets",
)
CHESTXRAY2017 = DatasetCard(
    name="chestxray2017",
    title="ChestXRay2017, paediatric pneumonia",
    task="classification",
    classes=("normal", "bacterial", "viral"),
    published={"normal": 1349, "bacterial": 2538, "viral": 1345},
    parts={
        "train and val": {"normal": 1349, "bacterial": 2538, "viral": 1345},
        "test": {"normal": 234, "bacterial": 242, "viral": 148},
    },
    licence="CC BY 4.0",
    citation="Kermany et al., Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep Learning,"
    " Cell 2018",
    url="https://data.mendeley.com/datasets/rscbjbr9sj",
    how_to_get="Download the chest X-rays from Mendeley Data, or Kaggle's chest-xray-pneumonia, and unzip them.",
    disk_gb=1.2,
    layout="chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg",
)
TB = DatasetCard(
    name="tb",
    title="Tuberculosis chest X-rays of Montgomery County and Shenzhen",
    task="classification",
    classes=("normal", "tuberculosis"),
    published={"normal": 406, "tuberculosis": 394},
    parts={
        "Montgomery": {"normal": 80, "tuberculosis": 58},
        "Shenzhen": {"normal": 326, "tuberculosis": 336},
    },
    licence="public for research; the National Library of Medicine asks to be named and the paper to be cited",
    citation="Jaeger et al., Two public chest X-ray datasets for computer-aided screening of pulmonary diseases,"
    " Quantitative Imaging in Medicine and Surgery 2014",
    url="https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/",
    how_to_get="Download the CXR_png folders of both sites and put them under one folder.",
    disk_gb=None,
    layout="MCUCXR_NNNN_{0,1}.png (Montgomery) and CHNCXR_NNNN_{0,1}.png (Shenzhen), anywhere below",
)
BREASTMNIST = DatasetCard(
    name="breastmnist",
    title="BreastMNIST, breast ultrasound",
    task="classification",
    classes=("malignant", "normal_or_benign"),
    published={"malignant": 210, "normal_or_benign": 570},
    parts={
        "train": {"malignant": 147, "normal_or_benign": 399},
        "val": {"malignant": 21, "normal_or_benign": 57},
        "test": {"malignant": 42, "normal_or_benign": 114},
    },
    licence="CC BY 4.0",
    citation="Yang et al., MedMNIST v2, Scientific Data 2023; images: Al-Dhabyani et al., Dataset of breast ultrasound"
    " images, Data in Brief 2020",
    url="https://medmnist.com/",
    how_to_get="Download breastmnist_224.npz (or _128, _64, or breastmnist.npz, 28 pixels) from MedMNIST on Zenodo.",
    disk_gb=None,
    layout="breastmnist.npz or breastmnist_{64,128,224}.npz, or the folder of PNGs that medmnist exports",
)

FOLDER = DatasetCard(
    name="folder",
    title="Own images",
    task="classification",
    classes=(),
    licence="that of the images",
    citation="that of the images",
    url="",
    how_to_get="Put them into one folder a class, or list them in a CSV with columns path, label, patient and split.",
    disk_gb=None,
    layout="DIR/<class>/… or DIR/{train,val,test}/<class>/… of PNG, JPEG, TIFF, DICOM; or --table FILE.csv",
)
MIX = DatasetCard(
    name="mix",
    title="medtl-mini, prepared data lists in one",
    task="classification",
    classes=(),
    licence="those of its parts, joined",
    citation="those of its parts",
    url="",
    how_to_get="Prepare each part, then name them all; what fine-tuning will test on can be left out.",
    disk_gb=None,
    layout="--lists NAME=DIR,NAME=DIR of prepared folders",
)

DATASETS: Mapping[str, DatasetCard] = MappingProxyType(
    {card.name: card for card in (CHEXPERT, MSD, LIDC, CPMID, CHAOS, CHESTXRAY2017, TB, BREASTMNIST, FOLDER, MIX)}
)
