"""Parameters of the model cards."""

from echocascade.params.section import Section


class CardParams(Section):
    """What only the data's user knows and a model card must say."""

    data_licence: str = ""
