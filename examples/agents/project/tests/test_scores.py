from app.scores import score


class Model:
    def predict(self, row):
        return {"Yes": row["distance"] / 1000}


def test_score_is_the_models():
    assert score(Model(), {"distance": 500}) == 0.5
