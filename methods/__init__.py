"""The methods. Every file here that is not in `SUPPORT` is a method, named after its file."""

SUPPORT = (  # files that are not methods
    "augment", "base", "batch", "boxes", "flower", "networks", "propagation", "pseudo_labels", "resident", "resize", "scale",
    "sites", "turns", "views",
)  # fmt: skip

GROUPS = {  # of methods and of other groups
    "losses": ["pce", "pce_dice", "pce_balanced", "total_variation", "entropy", "mumford_shah", "intensity_variance",
               "gated_crf", "dense_crf", "tree_energy"],
    "teachers": ["random_walker", "scribble2label", "mean_teacher", "ustm", "dmpls", "dmsps"],
    "modern": ["scribblevs", "shapepu", "cyclemix", "sdt_net", "helpnet", "nnunet_style"],
    "sets": ["box_mil", "tag_mil", "cam"],
    "controls": ["prior", "geodesic", "grabcut", "box_as_mask"],
    "outside": ["sam"],  # use weights that were trained on other images
    "exchange": ["federated"],  # needs Flower, and data of several sites
    "baselines": ["losses", "teachers", "prior"],
    "all": ["procns", "losses", "teachers", "modern", "sets", "controls"],
}  # fmt: skip
