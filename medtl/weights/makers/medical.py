"""Weights that were trained on medical images, by others: RadImageNet, torchxrayvision, RAD-DINO, BiomedCLIP."""

from medtl.networks.registry import Published
from medtl.weights.sources import TAKE, Source, register

HALF = (0.5, 0.5, 0.5)
CAFFE = (123.68 / 255, 116.779 / 255, 103.939 / 255)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


# --- RadImageNet: two families that were trained apart from each other (BMEII-AI/RadImageNet, issues 18, 20 and 22)
def of_pytorch(network: str) -> Published:
    """Return PyTorch's file of a network, which takes blue, green, red within -1..1."""
    return Published("", "", HALF, HALF, names=(f"{network}.pt",), bgr=True)


def of_keras(network: str, *others: str) -> Published:
    """Return Keras's file of a network, which takes (blue, green, red less their means of ImageNet) / 255, as the
    authors' scripts feed it. Mean and SD are stated for red, green, blue: loading turns the first convolution."""
    names = (f"RadImageNet-{network}_notop.h5", f"RadImageNet-{network}-notop.h5", *others)
    return Published("", "", CAFFE, (1.0, 1.0, 1.0), names=names, bgr=True)


register(
    Source(
        "radimagenet",
        "RadImageNet: 1.35 million CT, MR and ultrasound images, 165 classes (Mei et al. 2022)",
        licence="not stated for the weights; their repository (BMEII-AI/RadImageNet) is MIT, its images are on request",
        mean=(),
        std=(),
        trained_on=("radimagenet",),
        how_to_get="github.com/BMEII-AI/RadImageNet links to the files (PyTorch's ResNet50.pt, DenseNet121.pt,"
        " InceptionV3.pt; Keras's RadImageNet-…_notop.h5, of ResNet50 for --backbone keras/resnet50, of InceptionV3 for"
        " keras/inception_v3, of IRV2 for timm/inception_resnet_v2); download one by hand, then: medtl weights get"
        " radimagenet --backbone {backbone} --from FILE",
        files={
            "resnet50": (of_pytorch("ResNet50"),),
            "densenet121": (of_pytorch("DenseNet121"), of_keras("DenseNet121")),
            "torchvision/inception_v3": (of_pytorch("InceptionV3"),),
            "keras/resnet50": (of_keras("ResNet50"),),
            "keras/inception_v3": (of_keras("InceptionV3", "RadImageNet-InceptionV3-224-512-081421_notop.h5"),),
            "timm/inception_resnet_v2": (of_keras("IRV2", "RadImageNet-InceptionResNetV2_notop.h5"),),
        },
    )
)

# --- torchxrayvision: values -1024..1024, so (x - 0.5) / (1 / 2048) of x in 0..1; one channel
RELEASE = "https://github.com/mlmed/torchxrayvision/releases/download/v1/"
DENSENET = "densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"
SEEN = {
    "nih-pc-chex-mimic_ch-google-openi-kaggle": ("nih", "padchest", "chexpert", "mimic-cxr", "openi", "rsna"),
    "nih": ("nih",),
    "pc": ("padchest",),
    "chex": ("chexpert",),
    "kaggle": ("rsna",),
    "mimic_nb": ("mimic-cxr",),
    "mimic_ch": ("mimic-cxr",),
}
RESNET = "pc-nih-rsna-siim-vin-resnet50-test512-e400-state.pt"
register(
    Source(
        "torchxrayvision",
        "chest X-rays of seven sets, by torchxrayvision (Cohen et al. 2022)",
        licence="Apache-2.0 (torchxrayvision); trained on chest X-rays, most of which are for research only",
        mean=HALF,
        std=(1 / 2048,) * 3,
        trained_on=SEEN["nih-pc-chex-mimic_ch-google-openi-kaggle"],
        files={
            "densenet121": tuple(
                Published(f"{RELEASE}{sets}-{DENSENET}", "", names=(f"{sets}-{DENSENET}",), trained_on=seen)
                for sets, seen in SEEN.items()
            ),
            "resnet50": (
                Published(
                    RELEASE + RESNET,
                    "",
                    names=(RESNET,),
                    trained_on=("padchest", "nih", "rsna", "siim-acr", "vindr-cxr"),
                ),
            ),
        },
    )
)
register(
    Source(
        "raddino",
        "RAD-DINO: DINOv2 gone on with on 0.8 million chest X-rays, by Microsoft (Pérez-García et al. 2025)",
        licence="Microsoft Research Licence (MSRLA), for research; see the model's page for the one of your copy",
        # as its preprocessor_config.json says
        mean=(0.5307, 0.5307, 0.5307),
        std=(0.2583, 0.2583, 0.2583),
        trained_on=("mimic-cxr", "chexpert", "nih", "padchest", "brax", "lvd-142m", "imagenet"),
        how_to_get=TAKE,
        files={"vit_b14": (Published("https://huggingface.co/microsoft/rad-dino/resolve/main/model.safetensors", ""),)},
    )
)
BIOMEDCLIP = "https://huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224/resolve/main/"
register(
    Source(
        "biomedclip",
        "BiomedCLIP: 15 million figures and captions of PubMed Central, by Microsoft (Zhang et al. 2023)",
        licence="MIT (Microsoft)",
        mean=CLIP_MEAN,
        std=CLIP_STD,
        trained_on=("pmc-15m",),
        files={"vit_b16": (Published(f"{BIOMEDCLIP}open_clip_pytorch_model.bin", ""),)},
    )
)
