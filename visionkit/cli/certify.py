"""The verb certify. Heavy imports are inside the function."""

from visionkit.by_name import nearest
from visionkit.types import DataError


def certify(name: str | None = None, /) -> int | None:
    """Show what is proven for a model beside torchvision's, and repeat the proof that can be repeated here.

    That is a training of 30 steps on drawn scenes, whose losses and final weights must be those that torchvision had.
    It takes a minute or less; the exit code is 1 if they differ. KERAS_BACKEND=jax repeats it on JAX.

    Args:
        name: of the model, such as retinanet; without it all proofs are listed and nothing is repeated.
    """
    from visionkit.certify.proofs import read_proofs, rows

    proofs = read_proofs()
    if name is None:
        for each in proofs:
            print("\n".join([each, *rows(each)]))
        return None
    if name not in proofs:
        raise DataError(f"model {name!r}: no certificate{nearest(name, proofs)}")
    print("\n".join([name, *rows(name)]))
    from visionkit.environment import import_keras_quietly

    import_keras_quietly()
    import keras

    from visionkit.certify.courses import TOLERANCE
    from visionkit.certify.courses import certify as repeat

    found = repeat(name)
    more = f", of norms {found.allowed:g}, see docs/certificates.md" if found.allowed > TOLERANCE else ""
    print(f"{'OK' if found.ok else 'DIFFERS'} on {keras.backend.backend()}: {found}; {TOLERANCE:g} is allowed{more}")
    return None if found.ok else 1
