import json
import time

import redis
from fastapi import FastAPI

app = FastAPI()
cache = redis.Redis()


@app.get("/score/{key}")
async def score(key: str):
    hit = cache.get(key)
    if hit:
        return json.loads(hit)
    time.sleep(0.05)
    return {"key": key}
