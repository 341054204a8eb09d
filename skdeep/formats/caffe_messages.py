"""Caffe's messages as far as they are read: numbers, names and kinds of fields, and defaults.

A description is what :func:`skdeep.formats.protobuf.decode` takes. Names are those of Caffe.
"""

SHAPE = {1: ("dim", "ints")}
BLOB = {
    1: ("num", "int"),
    2: ("channels", "int"),
    3: ("height", "int"),
    4: ("width", "int"),
    5: ("data", "floats"),
    7: ("shape", SHAPE),
    8: ("double_data", "doubles"),
}
RULE = {
    1: ("phase", "int"),
    2: ("min_level", "int"),
    4: ("stage", "strings"),
}
SOURCE = {  # parameters of layers that read data, all in one
    "data_param": {5: ("crop_size", "int")},
    "image_data_param": {
        5: ("crop_size", "int"),
        9: ("new_height", "int"),
        10: ("new_width", "int"),
    },
    "memory_data_param": {2: ("channels", "int"), 3: ("height", "int"), 4: ("width", "int")},
    "transform_param": {3: ("crop_size", "int")},
}
AXIS = {1: ("axis", "int"), 2: ("num_axes", "int")}

# Layer type: the name of its parameter message, the fields of that, their values where absent.
# Arrays of two are height and width.
LAYERS = {
    "BatchNorm": ("batch_norm_param", {3: ("eps", "float")}, {"eps": 1e-5}),
    "Bias": ("bias_param", AXIS, {"axis": 1, "num_axes": 1}),
    "Concat": (
        "concat_param",
        {1: ("concat_dim", "int"), 2: ("axis", "int")},
        {"concat_dim": 1},
    ),
    "Convolution": (
        "convolution_param",
        {
            1: ("num_output", "int"),
            2: ("bias_term", "bool"),
            3: ("pad", "ints"),
            4: ("kernel_size", "ints"),
            5: ("group", "int"),
            6: ("stride", "ints"),
            9: ("pad_h", "int"),
            10: ("pad_w", "int"),
            11: ("kernel_h", "int"),
            12: ("kernel_w", "int"),
            13: ("stride_h", "int"),
            14: ("stride_w", "int"),
            16: ("axis", "int"),
            18: ("dilation", "ints"),
        },
        {"num_output": 0, "bias_term": True, "group": 1, "axis": 1},
    ),
    "Dropout": (
        "dropout_param",
        {1: ("dropout_ratio", "float"), 2: ("scale_train", "bool")},
        {"dropout_ratio": 0.5, "scale_train": True},
    ),
    "ELU": ("elu_param", {1: ("alpha", "float")}, {"alpha": 1.0}),
    "Eltwise": (
        "eltwise_param",
        {1: ("operation", "int"), 2: ("coeff", "floats")},
        {"operation": 1, "coeff": ()},
    ),
    "Flatten": (
        "flatten_param",
        {1: ("axis", "int"), 2: ("end_axis", "int")},
        {"axis": 1, "end_axis": -1},
    ),
    "InnerProduct": (
        "inner_product_param",
        {
            1: ("num_output", "int"),
            2: ("bias_term", "bool"),
            5: ("axis", "int"),
            6: ("transpose", "bool"),
        },
        {"num_output": 0, "bias_term": True, "axis": 1, "transpose": False},
    ),
    "Input": ("input_param", {1: ("shape", [SHAPE])}, {}),
    "LRN": (
        "lrn_param",
        {
            1: ("local_size", "int"),
            2: ("alpha", "float"),
            3: ("beta", "float"),
            4: ("norm_region", "int"),
            5: ("k", "float"),
        },
        {"local_size": 5, "alpha": 1.0, "beta": 0.75, "norm_region": 0, "k": 1.0},
    ),
    "PReLU": ("prelu_param", {2: ("channel_shared", "bool")}, {"channel_shared": False}),
    "Pooling": (
        "pooling_param",
        {
            1: ("pool", "int"),
            2: ("kernel_size", "ints"),
            3: ("stride", "ints"),
            4: ("pad", "ints"),
            5: ("kernel_h", "int"),
            6: ("kernel_w", "int"),
            7: ("stride_h", "int"),
            8: ("stride_w", "int"),
            9: ("pad_h", "int"),
            10: ("pad_w", "int"),
            12: ("global_pooling", "bool"),
            13: ("round_mode", "int"),
        },
        {"pool": 0, "global_pooling": False, "round_mode": 0},
    ),
    "Power": (
        "power_param",
        {1: ("power", "float"), 2: ("scale", "float"), 3: ("shift", "float")},
        {"power": 1.0, "scale": 1.0, "shift": 0.0},
    ),
    "ReLU": ("relu_param", {1: ("negative_slope", "float")}, {"negative_slope": 0.0}),
    "Scale": (
        "scale_param",
        {**AXIS, 4: ("bias_term", "bool")},
        {"axis": 1, "num_axes": 1, "bias_term": False},
    ),
    "Softmax": ("softmax_param", {2: ("axis", "int")}, {"axis": 1}),
}
# Names of the values of enumerations, by layer type and field.
ENUMERATIONS = {
    ("Eltwise", "operation"): ("PROD", "SUM", "MAX"),
    ("LRN", "norm_region"): ("ACROSS_CHANNELS", "WITHIN_CHANNEL"),
    ("Pooling", "pool"): ("MAX", "AVE", "STOCHASTIC"),
    ("Pooling", "round_mode"): ("CEIL", "FLOOR"),
}

# Numbers of the parameter messages in a layer, in both generations of files.
V2_PARAMETERS = {
    100: "transform_param",
    104: "concat_param",
    106: "convolution_param",
    107: "data_param",
    108: "dropout_param",
    110: "eltwise_param",
    115: "image_data_param",
    117: "inner_product_param",
    118: "lrn_param",
    119: "memory_data_param",
    121: "pooling_param",
    122: "power_param",
    123: "relu_param",
    125: "softmax_param",
    131: "prelu_param",
    135: "flatten_param",
    139: "batch_norm_param",
    140: "elu_param",
    141: "bias_param",
    142: "scale_param",
    143: "input_param",
}
V1_PARAMETERS = {
    9: "concat_param",
    10: "convolution_param",
    11: "data_param",
    12: "dropout_param",
    15: "image_data_param",
    17: "inner_product_param",
    18: "lrn_param",
    19: "pooling_param",
    21: "power_param",
    22: "memory_data_param",
    24: "eltwise_param",
    30: "relu_param",
    36: "transform_param",
    39: "softmax_param",
}
V1_TYPES = (
    "None", "Accuracy", "BNLL", "Concat", "Convolution", "Data", "Dropout", "EuclideanLoss",
    "Flatten", "HDF5Data", "HDF5Output", "Im2col", "ImageData", "InfogainLoss", "InnerProduct",
    "LRN", "MultinomialLogisticLoss", "Pooling", "ReLU", "Sigmoid", "Softmax", "SoftmaxWithLoss",
    "Split", "TanH", "WindowData", "Eltwise", "Power", "SigmoidCrossEntropyLoss", "HingeLoss",
    "MemoryData", "ArgMax", "Threshold", "DummyData", "Slice", "MVN", "AbsVal", "Silence",
    "ContrastiveLoss", "Exp", "Deconvolution",
)  # fmt: skip

_PARAMETERS = {name: fields for name, fields, _ in LAYERS.values()} | SOURCE


def _layer(common, parameters):
    return common | {n: (name, _PARAMETERS[name]) for n, name in parameters.items()}


V2_LAYER = _layer(
    {
        1: ("name", "string"),
        2: ("type", "string"),
        3: ("bottom", "strings"),
        4: ("top", "strings"),
        7: ("blobs", [BLOB]),
        8: ("include", [RULE]),
        9: ("exclude", [RULE]),
    },
    V2_PARAMETERS,
)
V1_LAYER = _layer(
    {
        1: ("layer", "bytes"),  # a layer of the generation before
        2: ("bottom", "strings"),
        3: ("top", "strings"),
        4: ("name", "string"),
        5: ("type", "int"),
        6: ("blobs", [BLOB]),
        32: ("include", [RULE]),
        33: ("exclude", [RULE]),
    },
    V1_PARAMETERS,
)
NET = {
    1: ("name", "string"),
    2: ("layers", [V1_LAYER]),
    3: ("input", "strings"),
    4: ("input_dim", "ints"),
    8: ("input_shape", [SHAPE]),
    100: ("layer", [V2_LAYER]),
}
