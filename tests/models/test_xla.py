"""XLA takes a training step and the serving network of every model: nothing in them needs the host, or a shape to vary.

Lowering to XLA's own language is what can fail, and takes a second or two; compiling that for a CPU takes minutes.
"""

import re

import keras
import pytest
import tensorflow as tf
from support.models import BUILD
from support.tiny import SIZE, random_batch, tiny_backbone

from visionkit.models import MODELS, Classifier

OTHERS = {"classifier": lambda: Classifier(tiny_backbone(levels=("C5",)), 3, image_size=SIZE)}
HOST = re.compile(r"\b(?:send|recv|infeed|outfeed)\(|callback")
VARYING = re.compile(r"\[[^]]*<=[^]]*\]")  # as in f32[<=100,4]


def lowered(function):
    """The XLA program of a function without arguments, as text."""
    program = tf.function(function, jit_compile=True).experimental_get_compiler_ir()(stage="hlo")
    assert "ENTRY" in program
    return program


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_xla_takes_a_training_step_and_the_serving_network(name):
    model = (BUILD | OTHERS)[name]()
    images, y = random_batch(batch=2)
    y["label"] = y["labels"][:, 0]
    images, y = tf.constant(images), {key: tf.constant(value) for key, value in y.items()}
    model.compile(optimizer=keras.optimizers.SGD(0.01), jit_compile=True)
    model.optimizer.build(model.trainable_variables)  # as the first step does, outside of what is compiled
    serving = model.serving()
    for program in (lowered(lambda: model.train_step((images, y))), lowered(lambda: serving(images))):
        assert not HOST.search(program)
        assert not VARYING.search(program)


def test_what_xla_cannot_take_is_noticed():
    def by_the_host(x):
        return tf.numpy_function(lambda a: a + 1, [x], tf.float32)

    x = tf.constant([1.0, -1.0])
    with pytest.raises(Exception, match="PyFunc"):
        lowered(lambda: by_the_host(x))
    assert VARYING.search(lowered(lambda: tf.where(x > 0)))
