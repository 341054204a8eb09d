"""sklearn-theano's names, as its users type them."""

import pytest

from skdeep.features import (
    GoogLeNetClassifier,
    GoogLeNetTransformer,
    ImageClassifier,
    ImageFeatures,
    OverfeatClassifier,
    OverfeatTransformer,
    VGG16Transformer,
    VGG19Transformer,
)

MADE = [
    (OverfeatTransformer(), ImageFeatures, "overfeat_small"),
    (OverfeatTransformer(large_network=True, batch_size=8), ImageFeatures, "overfeat_large"),
    (OverfeatClassifier(True, n_threads=1), ImageClassifier, "overfeat_large"),
    (GoogLeNetTransformer(), ImageFeatures, "bvlc_googlenet"),
    (GoogLeNetClassifier(crops=10), ImageClassifier, "bvlc_googlenet"),
    (VGG16Transformer("stage4"), ImageFeatures, "vgg16"),
    (VGG19Transformer(weights="V1"), ImageFeatures, "vgg19"),
]


@pytest.mark.parametrize(("estimator", "kind", "model"), MADE, ids=str)
def test_names_of_sklearn_theano(estimator, kind, model):
    assert type(estimator) is kind and estimator.model == model


@pytest.mark.parametrize(
    ("make", "parameter", "instead"),
    [
        (OverfeatTransformer, {"output_layers": [-3]}, "pass layer='penultimate' for"),
        (GoogLeNetTransformer, {"force_reshape": True}, "of any size are prepared as"),
        (VGG16Transformer, {"transpose_order": (0, 3, 1, 2)}, r"pictures are \(h, w, c\)"),
        (VGG19Transformer, {"output_layers": ["fc6"]}, "`layers_` lists"),
        (OverfeatClassifier, {"top_n": 5}, r"predict_top\(X, k="),
        (GoogLeNetClassifier, {"output_strings": True}, "`classes_` holds names"),
    ],
    ids=str,
)
def test_its_parameters_are_told_what_they_became(make, parameter, instead):
    with pytest.raises(TypeError, match=f"{next(iter(parameter))} of sklearn-theano .* {instead}"):
        make(**parameter)
