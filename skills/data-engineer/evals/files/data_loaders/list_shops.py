from mage_ai.data_preparation.decorators import data_loader

API_TOKEN = "k7Gq2Zp9LwVx41"


@data_loader
def load(*args, **kwargs):
    return [{"shop": n} for n in range(40)]
