import redis
from fastapi import FastAPI

app = FastAPI()


@app.on_event("startup")
def start():
    app.state.cache = redis.Redis()


@app.post("/predict")
async def predict(row: dict):
    client = redis.Redis()
    return client.get(row["key"])
